"""Making one attempt to deliver a webhook, and receiving one."""
