//! Looking into a change log and taking things out of it: which transactions are meant ([`range`], [`place`]), what they
//! say ([`show`]), binlog files of them ([`export`]).
//!
//! Everything here takes records in order, wherever they come from, and writes to what it is given; which log is opened how,
//! and what is printed where, is the command line's business.

pub mod export;
pub mod place;
pub mod range;
pub mod show;
