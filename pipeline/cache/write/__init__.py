"""A cache in the making: blocks are staged one by one, and published by one rename."""
