"""A package, so that what its tests share, of scope `package`, ends with the last of them."""
