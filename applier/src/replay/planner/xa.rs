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

/// An XID in the spelling that the server logs: `X'gtrid',X'bqual',format`.
pub(super) fn spell(gtrid: &[u8], bqual: &[u8], format_id: u32) -> String {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    format!("X'{}',X'{}',{format_id}", hex(gtrid), hex(bqual))
}

/// The XID in `XA COMMIT xid` or `XA ROLLBACK xid` as the server logs it, in [`spell`]'s spelling.
pub(super) fn xid(statement: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(statement).ok()?.trim();
    let (verb, rest) = text.split_once(char::is_whitespace)?;
    let (action, rest) = rest.trim_start().split_once(char::is_whitespace)?;
    let known = verb.eq_ignore_ascii_case("XA")
        && ["COMMIT", "ROLLBACK"]
            .iter()
            .any(|a| action.eq_ignore_ascii_case(a));
    let mut parts = rest.trim().split(',');
    let bytes = |part: Option<&str>| -> Option<String> {
        let part = part?.trim();
        let hex = part
            .strip_prefix(['X', 'x'])?
            .strip_prefix('\'')?
            .strip_suffix('\'')?;
        hex.bytes()
            .all(|b| b.is_ascii_hexdigit())
            .then(|| hex.to_ascii_lowercase())
    };
    let (gtrid, bqual) = (bytes(parts.next())?, bytes(parts.next())?);
    let format: u32 = parts.next()?.trim().parse().ok()?;
    (known && parts.next().is_none()).then(|| format!("X'{gtrid}',X'{bqual}',{format}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_events_spell_an_xid_alike() {
        assert_eq!(xid(b"XA COMMIT X'7831',X'',1"), Some(spell(b"x1", b"", 1)));
        assert_eq!(
            xid(b"xa rollback X'7831',X'4A',4294967295"),
            Some(spell(b"x1", b"J", u32::MAX))
        );
        assert_eq!(xid(b"XA COMMIT 'x1'"), None);
        assert_eq!(xid(b"XA"), None);
    }
}
