"""The commands, a thin file each: it reads the parameters, calls one function of the library, and reports."""
