"""The commands `mrcnn data COMMAND ...`: each module in this folder is one."""

HELP = "Check, count, convert, split and merge annotations."
EXAMPLE = "mrcnn data check instances.json"
