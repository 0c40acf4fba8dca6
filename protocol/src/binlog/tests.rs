//! Decoding of real events.
