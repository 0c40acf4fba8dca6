//! XA transactions: applied when they are committed, from where they stand in the log.
//!
//! A prepared transaction is kept by its offset alone: its rows stay in the log (nothing from there on is trimmed) and are
//! read again by the transaction that commits it, whatever session and however much later.

/// What is known of the XA side of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Xa {
    /// `XA START` was seen: whether the rows count is known at its end.
    Scanning,
    /// It ends prepared.
    Prepared { xid: String },
    /// It ends committed.
    OnePhase,
    /// It ends a prepared one.
    Ends { xid: String, commit: bool },
}

impl Xa {
    /// True while rows are passed over.
    pub(super) fn is_scanning(&self) -> bool {
        *self == Self::Scanning
    }
}
