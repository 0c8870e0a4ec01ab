"""Windows from and to the forms of data of other programs."""
