//! outrigger
