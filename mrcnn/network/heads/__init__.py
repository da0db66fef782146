"""The heads: RPN, box and mask."""
