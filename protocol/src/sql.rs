//! SQL read at byte level: a lexer that knows what MySQL's own lexer knows, and a reader of statement heads on top of it.
//!
//! Nothing here builds a syntax tree. A statement is text of the source; we say what it is ([`ddl::classify`]), which objects it
//! changes and where in the text a name stands, and otherwise leave every byte as it was written.

pub mod ddl;
pub mod lexer;

bitflags::bitflags! {
    /// The `sql_mode` of a session, in the bits in which a query event stores it. Only the bits that change how text
    /// is read have names here; the others are kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SqlMode: u64 {
        /// `"x"` is a name, not a string.
        const ANSI_QUOTES = 1 << 2;
        /// A backslash in a string is an ordinary character.
        const NO_BACKSLASH_ESCAPES = 1 << 20;
        /// Every other bit.
        const _ = !0;
    }
}
