//! What the proxy tells about the traffic through it: metrics.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};

use crate::support::Rig;

fn options(rig: &Rig) -> OptsBuilder {
    OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(rig.proxy)
        .user(Some("app"))
        .pass(Some("app"))
        .db_name(Some("app"))
        .prefer_socket(false)
}

async fn through(rig: &Rig) -> Conn {
    Conn::new(options(rig)).await.unwrap()
}

/// The value of a series in `/metrics`.
fn series(rig: &Rig, name: &str) -> Option<f64> {
    let text = rig.sidecar.get("/metrics").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_timed_and_errors_counted() {
    let mut rig = Rig::with("CREATE TABLE app.t (id INT PRIMARY KEY)").await;
    rig.start();
    let mut conn = through(&rig).await;
    let count = |kind: &str| {
        series(
            &rig,
            &format!("outrigger_proxy_command_seconds_count{{command=\"{kind}\"}}"),
        )
    };
    let before = count("query").unwrap_or(0.0);
    for _ in 0..5 {
        conn.query_drop("DO 1").await.unwrap();
    }
    conn.query_drop("DO SLEEP(0.3)").await.unwrap();
    conn.exec_drop("SELECT * FROM t WHERE id = ?", (1,))
        .await
        .unwrap();
    for _ in 0..2 {
        conn.query_drop("SELECT * FROM nowhere").await.unwrap_err();
    }
    conn.query_drop("SET sql_log_bin = 0").await.unwrap_err();
    let mut wrong = Conn::new(options(&rig).pass(Some("wrong"))).await;
    assert!(wrong.is_err());
    wrong = Conn::new(options(&rig)).await;
    drop(wrong.unwrap());
    assert!(count("query").unwrap() >= before + 9.0);
    assert_eq!(
        (count("stmt_prepare"), count("stmt_execute")),
        (Some(1.0), Some(1.0))
    );
    let slower = |bound: &str| {
        let all = count("query").unwrap();
        all - series(
            &rig,
            &format!("outrigger_proxy_command_seconds_bucket{{command=\"query\",le=\"{bound}\"}}"),
        )
        .unwrap()
    };
    assert!(slower("0.25") >= 1.0, "the sleep");
    let errors = |code: u16, from: &str| {
        series(
            &rig,
            &format!("outrigger_proxy_errors_total{{code=\"{code}\",from=\"{from}\"}}"),
        )
    };
    assert_eq!(errors(1146, "source"), Some(2.0));
    assert_eq!(errors(1235, "proxy"), Some(1.0));
    assert_eq!(errors(1045, "source"), Some(1.0));
    assert_eq!(errors(1235, "source"), None);
}
