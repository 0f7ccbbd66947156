"""Known bugs, each one line where a promise rests."""

from __future__ import annotations

from simulation.mutants.base import Mutant
from simulation.mutants.serving import SERVING
from simulation.mutants.storing import STORING
from simulation.mutants.submitting import SUBMITTING
from simulation.mutants.working import WORKING

MUTANTS = (*SUBMITTING, *STORING, *SERVING, *WORKING)

__all__ = ["MUTANTS", "Mutant"]
