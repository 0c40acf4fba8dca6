//! What a person sees.

use super::*;
use crate::status::{DivergencesPart, LastDivergence, LogPart, SourcePart, TrafficPart};

fn document() -> Document {
    Document {
        version: "9.9.9".to_owned(),
        uptime_seconds: 133.4,
        resident_bytes: 88_000_000,
        source: SourcePart {
            address: "127.0.0.1:3306".to_owned(),
            server_version: Some("9.7.0".to_owned()),
            phase: Phase::plain("streaming"),
            file: Some("binlog.000003:4711".to_owned()),
            gtids: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77".to_owned()),
            semi_sync: false,
            transactions: 10,
            passed: 0,
            transactions_per_second: 1234.4,
            bytes_per_second: 2_202_009.6,
            silent_seconds: Some(0.1),
            delay_seconds: 0.0,
        },
        log: LogPart {
            path: "/var/lib/outrigger/log".to_owned(),
            id: "x".to_owned(),
            first: 1,
            last: 4242,
            bytes: 12_897_484,
            quota: 21_474_836_480,
            paused: false,
            overdue: false,
            held: None,
            found: Vec::new(),
            phase: Phase::plain("open"),
        },
        proxy: Some(ProxyPart {
            listen: vec!["127.0.0.1:3307".to_owned()],
            guard: vec![GuardPart {
                rule: "gh-ost".to_owned(),
                refused: 1234,
                warned: 0,
            }],
            traffic: TrafficPart {
                connections: 40,
                in_transaction: 3,
                commands_per_second: 1234.5,
                commands: 1_000_000,
                errors: 17,
            },
            phase: Phase::plain("listening"),
        }),
        tasks: vec![TaskPart {
            name: "main".to_owned(),
            target: "10.0.0.2:3306".to_owned(),
            phase: Phase::plain("copying_rows"),
            tables: vec![
                table("customers", true, 1000, 990, 0.0, None),
                table("orders", false, 120_000, 500_000, 45_000.0, Some(8.44)),
                table("events", false, 0, 7, 0.0, None),
            ],
            offset: 400,
            position: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-44 (binlog.000003:1234)".to_owned()),
            delay_seconds: 3.24,
            transactions_behind: 3842,
            log_bytes_behind: 11_681_332,
            transactions_per_second: 2.5,
            rows_per_second: 0.0,
            copied_rows_per_second: 45_000.0,
            rows_inserted: 1,
            rows_updated: 2,
            rows_deleted: 3,
            transactions: 4,
            groups: 5,
            ddl: 6,
            retries: 7,
            divergences: DivergencesPart::default(),
            limits: LimitsPart::default(),
        }],
    }
}

fn table(name: &str, done: bool, copied: u64, estimated: u64, rate: f64, left: Option<f64>) -> TablePart {
    TablePart {
        database: "shop".to_owned(),
        table: name.to_owned(),
        done,
        rows_copied: copied,
        rows_estimated: estimated,
        bytes_copied: copied * 100,
        rows_per_second: rate,
        seconds_left: left,
    }
}

#[test]
fn the_whole_page() {
    let expected = "\
outrigger 9.9.9, up 2m 13s, 83.9 MiB resident
source  127.0.0.1:3306 (MySQL 9.7.0): streaming
        read up to binlog.000003:4711, 2.1 MiB/s, 1,234 transactions/s
        GTIDs 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77
log     /var/lib/outrigger/log: transactions 1 to 4,242, 12.3 MiB of 20.0 GiB
proxy   127.0.0.1:3307: listening
        40 connected, 3 in a transaction; 1,234 commands/s; 1,000,000 commands, 17 errors
        guard gh-ost: 1,234 refused, 0 warned of

task main -> 10.0.0.2:3306: copying rows
  copied    1 of 3 tables, 1,000 rows, 97.7 KiB
  copying   45,000 rows/s
    table           rows  of about  done  rows/s   left
    shop.orders  120,000   500,000  24 %  45,000  8.4 s
    shop.events        0         7   0 %       0
  behind    3.2 s, 3,842 transactions, about 11.1 MiB of log
  applying  0 rows/s, 2.5 transactions/s
  applied   1 inserts, 2 updates, 3 deletes, 6 DDL in 4 transactions as 5, 7 retries
  position  3e11fa47-71ca-11e1-9e33-c80aa9429562:1-44 (binlog.000003:1234), offset 400
";
    assert_eq!(render(&document()), expected);
}

#[test]
fn diverged_rows_are_a_line_of_their_own() {
    let mut document = document();
    assert!(!render(&document).contains("diverged"));
    document.tasks[0].divergences = DivergencesPart {
        rows: 1234,
        tables: Vec::new(),
        last: Some(LastDivergence {
            table: "`shop`.`orders`".to_owned(),
            kind: "missing_row".to_owned(),
            place: "binlog.000003:1234 (offset 400)".to_owned(),
            at: "2026-01-02T03:04:05Z".to_owned(),
        }),
    };
    let line = "  diverged  1,234 rows, the last in `shop`.`orders` (missing row) at binlog.000003:1234 (offset 400), \
                2026-01-02T03:04:05Z\n";
    assert!(render(&document).contains(line), "{}", render(&document));
}

#[test]
fn limits_are_a_line_of_their_own() {
    let mut document = document();
    assert!(!render(&document).contains("limits"));
    document.tasks[0].limits = LimitsPart {
        rows_per_second: 1000,
        bytes_per_second: 10 << 20,
        max_latency_seconds: 0.05,
        lanes: 4,
        lanes_now: 2,
    };
    let line =
        "  limits    1,000 rows/s, 10.0 MiB/s, 2 of 4 lanes (fewer while commits take longer than 0.05 s)\n";
    assert!(render(&document).contains(line), "{}", render(&document));
}

#[test]
fn an_error_is_shown_whole_with_its_times() {
    let mut document = document();
    document.tasks[0].phase = Phase {
        state: "retrying".to_owned(),
        why: Some("target: no answer from 10.0.0.2:3306 within 10 s: check the address".to_owned()),
        side: Some("target".to_owned()),
        for_seconds: Some(75.0),
        next_try_in_seconds: Some(4.0),
        gives_up_in_seconds: Some(43_125.0),
    };
    let text = render(&document);
    assert!(
        text.contains(
            "task main -> 10.0.0.2:3306: retrying for 1m 15s, next try in 4.0 s, gives up in 11h 58m 45s\n  target: no answer"
        ),
        "{text}"
    );
    assert_eq!(document.troubles().len(), 1);
    document.tasks[0].phase.next_try_in_seconds = Some(0.0);
    assert!(render(&document).contains("retrying for 1m 15s, trying now, gives up in"));
}

#[test]
fn the_document_survives_json() {
    let json = serde_json::to_string(&document()).unwrap();
    assert_eq!(serde_json::from_str::<Document>(&json).unwrap(), document());
}

#[test]
fn long_positions_are_cut_between_characters() {
    let text = "ü".repeat(200);
    assert!(shorten(&text).starts_with(&"ü".repeat(160)));
    assert!(shorten(&text).ends_with("(200 characters; all with --json)"));
    assert_eq!(shorten("short"), "short");
}
