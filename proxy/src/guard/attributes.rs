//! Where the statement of a COM_QUERY begins: behind the attributes that some clients put before it.
//!
//! Read as the server reads them (`parse_query_bind_params` and `get_ps_param_len` in its `sql/protocol_classic.cc`): where it takes other
//! bytes for the statement than we do, it runs another one than was judged.

use outrigger_protocol::cursor::{Cursor, Truncated};
use outrigger_protocol::handshake::Capabilities;

/// Why a command has no statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoStatement {
    /// It ends before the statement begins.
    Cut,
    /// The server answers it with an error.
    Malformed,
}

impl From<Truncated> for NoStatement {
    fn from(_: Truncated) -> Self {
        Self::Cut
    }
}

/// The server takes no more attributes.
const MOST: u64 = 65_535;

/// `MYSQL_TYPE_BOOL`: no server takes it.
const BOOL: u16 = 244;

/// The statement in a COM_QUERY.
pub(super) fn statement(payload: &[u8], capabilities: Capabilities) -> Result<&[u8], NoStatement> {
    let mut cursor = Cursor::new(payload);
    cursor.skip(1)?;
    if !capabilities.contains(Capabilities::QUERY_ATTRIBUTES) {
        return Ok(cursor.rest());
    }
    let (count, sets) = (length(&mut cursor)?, length(&mut cursor)?);
    if sets != 1 || count > MOST {
        return Err(NoStatement::Malformed);
    }
    if count > 0 {
        let count = usize::try_from(count).map_err(|_too_many| NoStatement::Malformed)?;
        let nulls = cursor.bytes(count.div_ceil(8))?;
        if cursor.u8()? == 0 {
            // Types are only left out where they were sent before, which a text can't have.
            return Err(NoStatement::Malformed);
        }
        let mut types = Vec::new();
        for _ in 0..count {
            // The highest bit says that a number has no sign.
            types.push(cursor.u16()? & 0x7fff);
            skip_counted(&mut cursor)?;
        }
        for (at, kind) in types.into_iter().enumerate() {
            let is_null = nulls.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 != 0);
            if !is_null {
                skip_value(&mut cursor, kind)?;
            }
        }
    }
    Ok(cursor.rest())
}

/// Passes over a value in binary form (`enum_field_types` in the server's `include/field_types.h`).
fn skip_value(cursor: &mut Cursor<'_>, kind: u16) -> Result<(), NoStatement> {
    match kind {
        // TINY; SHORT; LONG, FLOAT; LONGLONG, DOUBLE.
        1 => cursor.skip(1)?,
        2 => cursor.skip(2)?,
        3 | 4 => cursor.skip(4)?,
        5 | 8 => cursor.skip(8)?,
        BOOL => return Err(NoStatement::Malformed),
        // All else, YEAR and INT24 and NULL too.
        _ => skip_counted(cursor)?,
    }
    Ok(())
}

/// Passes over bytes that stand behind their number.
fn skip_counted(cursor: &mut Cursor<'_>) -> Result<(), Truncated> {
    let size = length(cursor)?;
    cursor.skip(usize::try_from(size).unwrap_or(usize::MAX))
}

/// A length as the server reads it from a client: any first byte that says neither a size nor two or three bytes stands before eight, of which
/// the upper four do not count.
fn length(cursor: &mut Cursor<'_>) -> Result<u64, Truncated> {
    Ok(match cursor.u8()? {
        short @ ..=250 => u64::from(short),
        252 => u64::from(cursor.u16()?),
        253 => u64::from(cursor.u24()?),
        _ => {
            let size = cursor.u32()?;
            cursor.skip(4)?;
            u64::from(size)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &[u8]) -> Result<Vec<u8>, NoStatement> {
        let payload = [b"\x03", head, b"SELECT 1"].concat();
        let capabilities = Capabilities::PROTOCOL_41 | Capabilities::QUERY_ATTRIBUTES;
        statement(&payload, capabilities).map(<[u8]>::to_vec)
    }

    #[test]
    fn they_are_passed_over() {
        let found = Ok(b"SELECT 1".to_vec());
        let none = Capabilities::PROTOCOL_41;
        assert_eq!(statement(b"\x03SELECT 1", none).map(<[u8]>::to_vec), found);
        assert_eq!(read(b"\x00\x01"), found);
        // A string, a NULL, a number and a moment.
        let types = b"\xfe\x00\x01a\xfe\x00\x01b\x08\x80\x01c\x0c\x00\x01d";
        let values = b"\x03SET\x01\x02\x03\x04\x05\x06\x07\x08\x04\x01\x02\x03\x04";
        assert_eq!(read(&[&b"\x04\x01\x02\x01"[..], types, values].concat()), found);
        for long in [
            &b"\xfc\x01\x00"[..],
            b"\xfd\x01\x00\x00",
            b"\xfe\x01\0\0\0\0\0\0\0",
        ] {
            let payload = [long, b"\x01\x00\x01\xfe\x00\x01a\x01x"].concat();
            assert_eq!(read(&payload), found, "{long:?}");
        }
    }

    /// What a real server (9.7.4) takes for each type.
    #[test]
    fn each_type_has_the_servers_size() {
        for kind in (0..=20).chain(242..=255_u16) {
            let value: &[u8] = match kind {
                1 => b"\x03",
                2 => b"\x03a",
                5 | 8 => b"\x03abcdefg",
                _ => b"\x03abc",
            };
            let head = [b"\x01\x01\x00\x01", &kind.to_le_bytes()[..], b"\x01a", value].concat();
            let expected = match kind {
                BOOL => Err(NoStatement::Malformed),
                _ => Ok(b"SELECT 1".to_vec()),
            };
            assert_eq!(read(&head), expected, "{kind}");
        }
        // There is more to a type than its lower byte.
        assert_eq!(
            read(b"\x01\x01\x00\x01\x08\x01\x01a\x03abc"),
            Ok(b"SELECT 1".to_vec())
        );
    }

    #[test]
    fn types_follow_any_byte_but_zero() {
        assert_eq!(
            read(b"\x01\x01\x00\x02\xfe\x00\x01a\x01x"),
            Ok(b"SELECT 1".to_vec())
        );
        for malformed in [
            &b"\x01\x01\x00\x00"[..],
            b"\x00\x00",
            b"\x00\x02",
            b"\xfe\0\0\x01\0\0\0\0\0\x01",
        ] {
            assert_eq!(read(malformed), Err(NoStatement::Malformed), "{malformed:?}");
        }
        assert_eq!(read(b"\x01\x01\x00\x01\xfe\x00\x01a\x7fx"), Err(NoStatement::Cut));
        assert_eq!(
            statement(b"\x03\x01", Capabilities::QUERY_ATTRIBUTES),
            Err(NoStatement::Cut)
        );
    }
}
