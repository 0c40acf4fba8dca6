//! Names and text written so that MySQL reads them back as they are.

/// `` `name` ``.
pub fn quote_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// `'text'`. Right in sessions that take a backslash for an escape, as they do unless `sql_mode` has `NO_BACKSLASH_ESCAPES`.
pub fn quote_text(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    quote_bytes(&mut out, text.as_bytes());
    String::from_utf8(out).unwrap_or_default()
}

/// Appends `'bytes'`; see [`quote_text`].
pub fn quote_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    out.push(b'\'');
    let mut rest = bytes;
    while let Some(at) = rest
        .iter()
        .position(|b| matches!(b, 0 | b'\'' | b'\\' | b'\n' | b'\r' | 0x1a))
    {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\\');
        out.push(match rest[at] {
            0 => b'0',
            b'\n' => b'n',
            b'\r' => b'r',
            0x1a => b'Z',
            other => other,
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
}
