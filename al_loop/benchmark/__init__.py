"""Which strategy saves labels? Cycles on a set whose labels are known, with strategies side by side."""
