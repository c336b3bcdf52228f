//! Pair packing, collation and plans.
