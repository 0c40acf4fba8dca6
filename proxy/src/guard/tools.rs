//! How online-DDL tools name their tables and triggers, and what their comments begin with.

use super::Rule;

/// The tool whose comment this is, and how the comment begins. Only one that begins with the tool's name counts.
pub(super) fn of_comment(comment: &[u8]) -> Option<(Rule, &'static str)> {
    const MARKS: [(Rule, &str); 3] = [
        (Rule::GhOst, "gh-ost"),
        (Rule::PtOsc, "pt-online-schema-change"),
        (Rule::Lhm, "large hadron migration"),
    ];
    let content = comment.strip_prefix(b"/*")?.trim_ascii_start();
    MARKS.into_iter().find(|(_, mark)| {
        content.get(..mark.len()).is_some_and(|head| {
            // The mark is a word of its own.
            head.eq_ignore_ascii_case(mark.as_bytes())
                && content
                    .get(mark.len())
                    .is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-')
        })
    })
}

/// What a tool's client calls itself.
pub(super) fn program(rule: Rule) -> &'static str {
    match rule {
        Rule::GhOst => "gh-ost",
        Rule::PtOsc => "pt-online-schema-change",
        Rule::Vitess => "vttablet",
        _ => "",
    }
}

/// A name that a tool would give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape<'a> {
    /// The tool.
    pub(super) rule: Rule,
    /// The table of which the name speaks; empty where it does not say.
    pub(super) of: &'a str,
}

/// The tool that would name a table so.
pub(super) fn of_table(name: &str) -> Option<Shape<'_>> {
    type Read = fn(&str) -> Option<&str>;
    const SHAPES: [(Rule, Read); 12] = [
        (Rule::FacebookOsc, |name| after(name, "__osc_new_")),
        (Rule::FacebookOsc, |name| after(name, "__osc_chg_")),
        (Rule::FacebookOsc, |name| after(name, "__osc_old_")),
        (Rule::Lhm, |name| after(name, "lhmn_")),
        // After the prefix a time, in digits and underscores.
        (Rule::Lhm, |name| {
            let rest = after(name, "lhma_")?;
            let of = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_');
            (!of.is_empty() && rest.len() > of.len()).then_some(of)
        }),
        (Rule::Vitess, |name| after(name, "_vt_").map(|_| "")),
        (Rule::Dms, dms),
        (Rule::GhOst, |name| between(name, "_gho")),
        (Rule::GhOst, |name| between(name, "_ghc")),
        (Rule::GhOst, |name| between(name, "_del")),
        (Rule::Spirit, |name| between(name, "_chkpnt")),
        // Spirit's too: what else is seen tells them apart.
        (Rule::PtOsc, |name| {
            between(name, "_new").or_else(|| between(name, "_old"))
        }),
    ];
    SHAPES
        .into_iter()
        .find_map(|(rule, read)| read(name).map(|of| Shape { rule, of }))
}

/// The tool that would name a trigger so; `of` is the name without what the tool adds, the database's included.
pub(super) fn of_trigger(name: &str) -> Option<Shape<'_>> {
    let events = ["ins", "upd", "del"];
    let pt_osc = after(name, "pt_osc_").and_then(|rest| {
        let (of, event) = rest.rsplit_once('_')?;
        (!of.is_empty() && events.iter().any(|known| event.eq_ignore_ascii_case(known))).then_some(of)
    });
    if let Some(of) = pt_osc {
        return Some(Shape {
            rule: Rule::PtOsc,
            of,
        });
    }
    for (rule, prefix) in [(Rule::Lhm, "lhmt_"), (Rule::FacebookOsc, "__osc_")] {
        let found = after(name, prefix).and_then(|rest| {
            let (event, of) = rest.split_once('_')?;
            (!of.is_empty() && events.iter().any(|known| event.eq_ignore_ascii_case(known))).then_some(of)
        });
        if let Some(of) = found {
            return Some(Shape { rule, of });
        }
    }
    None
}

/// True when a tool that gave a trigger a name with `of` in it may have meant the table: pt-osc replaces what is no letter, digit or
/// underscore, and cuts what is too long.
pub(super) fn speaks_of(of: &str, table: &str) -> bool {
    let plain: String = table
        .chars()
        .map(|c| if c.is_alphanumeric() || c == '_' { c } else { '_' })
        .collect();
    let (of, plain) = (of.to_lowercase(), plain.to_lowercase());
    !plain.is_empty() && (of == plain || of.ends_with(&format!("_{plain}")))
}

/// True when the name holds what Vitess makes unique names of: 32 hexadecimal digits and a time of 14 digits.
pub(super) fn is_vitess_in_full(name: &str) -> bool {
    let mut parts = name
        .split('_')
        .skip_while(|part| !(part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit())));
    parts.next().is_some()
        && parts
            .next()
            .is_some_and(|time| time.len() == 14 && time.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `tp_N_ogt_T`, `tp_N_del_T`, `tp_N_ogl_T`.
fn dms(name: &str) -> Option<&str> {
    let (number, rest) = after(name, "tp_")?.split_once('_')?;
    let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    ["ogt_", "del_", "ogl_"]
        .into_iter()
        .find_map(|kind| after(rest, kind))
        .filter(|_| numbered)
}

/// What follows a prefix, if anything does. Tools write in lower case, the server may fold names: case is no matter.
fn after<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = name.split_at_checked(prefix.len())?;
    (head.eq_ignore_ascii_case(prefix) && !rest.is_empty()).then_some(rest)
}

/// What stands between the underscores at the front (pt-osc adds more when a name is taken) and a suffix.
fn between<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let (head, tail) = name.split_at_checked(name.len().checked_sub(suffix.len())?)?;
    let of = head.strip_prefix('_')?.trim_start_matches('_');
    (tail.eq_ignore_ascii_case(suffix) && !of.is_empty()).then_some(of)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tables_tell_tool_and_table() {
        for (name, rule, of) in [
            ("_orders_gho", Rule::GhOst, "orders"),
            ("_orders_GHC", Rule::GhOst, "orders"),
            ("_orders_del", Rule::GhOst, "orders"),
            ("_orders_new", Rule::PtOsc, "orders"),
            ("___orders_new", Rule::PtOsc, "orders"),
            ("_orders_old", Rule::PtOsc, "orders"),
            ("_orders_chkpnt", Rule::Spirit, "orders"),
            ("lhmn_orders", Rule::Lhm, "orders"),
            ("lhma_2026_11_22_10_00_00_123_orders", Rule::Lhm, "orders"),
            ("__osc_new_orders", Rule::FacebookOsc, "orders"),
            ("__osc_chg_orders", Rule::FacebookOsc, "orders"),
            ("_vt_hold_x", Rule::Vitess, ""),
            ("tp_12_ogt_orders", Rule::Dms, "orders"),
            ("tp_12_ogl_a_b", Rule::Dms, "a_b"),
        ] {
            assert_eq!(of_table(name), Some(Shape { rule, of }), "{name}");
        }
        for name in [
            "orders",
            "orders_new",
            "_new",
            "__new",
            "_orders",
            "lhmn_",
            "lhma_orders",
            "lhma_12",
            "_vt_",
            "tp_x_ogt_a",
            "tp_1_abc_a",
            "vt_x",
            "_orders_gh",
            "osc_new_orders",
            "",
        ] {
            assert_eq!(of_table(name), None, "{name}");
        }
    }

    #[test]
    fn triggers_tell_tool_and_table() {
        let of = |name| of_trigger(name).map(|shape| (shape.rule, shape.of));
        assert_eq!(of("pt_osc_shop_orders_del"), Some((Rule::PtOsc, "shop_orders")));
        assert_eq!(of("lhmt_ins_orders"), Some((Rule::Lhm, "orders")));
        assert_eq!(of("__osc_upd_orders"), Some((Rule::FacebookOsc, "orders")));
        for name in ["orders_ins", "pt_osc_x", "lhmt_orders", "pt_osc__del", ""] {
            assert_eq!(of(name), None, "{name}");
        }
        assert!(speaks_of("shop_my_orders", "my-orders") && speaks_of("orders", "Orders"));
        assert!(!speaks_of("shop_orders", "rders") && !speaks_of("orders", ""));
    }

    #[test]
    fn only_a_tools_own_comment_counts() {
        for (comment, rule) in [
            ("/* gh-ost */", Rule::GhOst),
            ("/*gh-ost*/", Rule::GhOst),
            ("/* GH-OST v1 */", Rule::GhOst),
            ("/*pt-online-schema-change 77 copy table*/", Rule::PtOsc),
            ("/* large hadron migration (3.5) */", Rule::Lhm),
        ] {
            assert_eq!(
                of_comment(comment.as_bytes()).map(|found| found.0),
                Some(rule),
                "{comment}"
            );
        }
        for comment in [
            "/* not for gh-ost */",
            "/* gh-osts */",
            "/* gh-ost-like */",
            "# gh-ost",
            "-- gh-ost",
            "/*!50000",
            "/**/",
            "/*",
        ] {
            assert_eq!(of_comment(comment.as_bytes()), None, "{comment}");
        }
    }

    #[test]
    fn vitess_names_are_long() {
        assert!(is_vitess_in_full(
            "_vt_HOLD_6ace8bcef73211ea87e9f875a4d24e90_20200915120410"
        ));
        assert!(is_vitess_in_full(
            "_vt_vrp_6ace8bcef73211ea87e9f875a4d24e90_20200915120410_"
        ));
        assert!(
            !is_vitess_in_full("_vt_hold_orders")
                && !is_vitess_in_full("_vt_6ace8bcef73211ea87e9f875a4d24e90_x")
        );
    }

    proptest! {
        #[test]
        fn any_name_is_read(name: String, other: String) {
            std::hint::black_box((of_table(&name), of_trigger(&name), is_vitess_in_full(&name), speaks_of(&name, &other)));
            std::hint::black_box(of_comment(name.as_bytes()));
        }
    }
}
