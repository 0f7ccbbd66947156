"""How parts of a JSON text look that are passed over in one go. No pattern goes back over what it has passed."""

from __future__ import annotations

import re

#: Levels of objects and arrays that are passed over together.
NESTED_LEVELS = 2
LONGEST_ESCAPE = 12  # bytes

_SPACE = rb"[ \t\n\r]*+"
_ESCAPE = (  # of a character that a database can hold
    rb'["\\/bfnrt]|u(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4}'
    rb"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_TEXT = rb'[^"\\\x00-\x1f]*+(?:\\(?:%b)[^"\\\x00-\x1f]*+)*+' % _ESCAPE
_KEY = rb'"(?:%b)"%b:%b' % (_TEXT, _SPACE, _SPACE)
_SCALAR = rb'(?:"%b"|-?(?:0|[1-9][0-9]{0,17}+)(?:\.[0-9]++)?+(?![0-9.eE])|true|false|null)' % _TEXT


def _array_or(value: bytes) -> bytes:
    """A scalar, or an array of such values."""
    return rb"(?:%b|\[%b(?:%b%b(?:,%b(?!\])|(?=\])))*+\])" % (_SCALAR, _SPACE, value, _SPACE, _SPACE)


def _array_or_object_or(value: bytes) -> bytes:
    """A scalar, or an array or object of such values."""
    object_ = rb"\{%b(?:%b%b%b(?:,%b(?!\})|(?=\})))*+\}" % (_SPACE, _KEY, value, _SPACE, _SPACE)
    return rb"(?:%b|%b)" % (_array_or(value), object_)


_VALUE = _ARRAYS = _SCALAR
for _ in range(NESTED_LEVELS):
    _VALUE, _ARRAYS = _array_or_object_or(_VALUE), _array_or(_ARRAYS)

SPACE = re.compile(_SPACE)
#: What is inside a string, without escapes of what no database can hold.
TEXT = re.compile(_TEXT)
#: Any escape of a code unit.
UNIT = re.compile(rb"\\u[0-9a-fA-F]{4}")
KEY = re.compile(rb'"(%b)"%b:' % (_TEXT, _SPACE))
NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*+)(\.[0-9]++)?+([eE][+-]?[0-9]++)?+")
WORD = re.compile(rb"true|false|null")
STRING = re.compile(rb'"%b"' % _TEXT)
#: Values of an array, each with its comma: strings, words, numbers of 64 bits without an exponent, arrays of such.
ELEMENTS = re.compile(rb"(?:%b%b%b,)*+" % (_SPACE, _ARRAYS, _SPACE))
#: The same with objects too.
NESTED = re.compile(rb"(?:%b%b%b,)*+" % (_SPACE, _VALUE, _SPACE))
#: The same of an object.
MEMBERS = re.compile(rb"(?:%b%b%b%b,)*+" % (_SPACE, _KEY, _VALUE, _SPACE))
