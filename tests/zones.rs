//! Definition statements that depend on the time zone of their session, between machines that keep different time.

use crate::apply::why;
use crate::source::configure;
use crate::support::{PATIENCE, Plan, Rig, definitions, run};

/// What statements make of times depends on the zone: defaults, conversions, bounds.
const TABLES: &str = "
    CREATE TABLE app.added (id INT PRIMARY KEY);
    INSERT INTO app.added VALUES (1);
    CREATE TABLE app.flat (id INT PRIMARY KEY, ts TIMESTAMP NULL);
    INSERT INTO app.flat VALUES (1, '2026-01-15 12:00:00'), (2, '2026-07-15 12:00:00'), (3, '1979-04-01 00:30:00');
    CREATE TABLE app.stamped (id INT PRIMARY KEY, dt DATETIME NULL);
    INSERT INTO app.stamped VALUES (1, '2026-01-15 12:00:00'), (2, '2026-07-15 12:00:00');
    CREATE TABLE app.zoned (id INT PRIMARY KEY, ts TIMESTAMP NULL);
    INSERT INTO app.zoned VALUES (1, '2026-07-15 12:00:00')";

const STATEMENTS: &str = "
    ALTER TABLE app.added ADD d DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP;
    ALTER TABLE app.added ADD t TIMESTAMP NOT NULL DEFAULT '2026-06-01 00:00:00';
    ALTER TABLE app.flat MODIFY ts DATETIME NULL;
    ALTER TABLE app.stamped MODIFY dt TIMESTAMP NULL;
    CREATE TABLE app.bounded (id INT, ts TIMESTAMP NOT NULL) PARTITION BY RANGE (UNIX_TIMESTAMP(ts)) (
        PARTITION old VALUES LESS THAN (UNIX_TIMESTAMP('2026-07-01')), PARTITION new VALUES LESS THAN (MAXVALUE));
    INSERT INTO app.bounded VALUES (1, '2026-06-30 23:30:00'), (2, '2026-07-01 00:30:00');
    ALTER TABLE app.bounded TRUNCATE PARTITION old;
    SET time_zone = '-05:00';
    ALTER TABLE app.zoned MODIFY ts DATETIME NULL";

async fn assert_alike(rig: &Rig) {
    rig.assert_equal(&["app"]).await;
    // Defaults of TIMESTAMP columns are shown in the session's zone.
    let (mut source, mut target) = (rig.source_conn().await, rig.target_conn().await);
    for conn in [&mut source, &mut target] {
        run(conn, "SET time_zone = '+00:00'").await;
    }
    let ours = definitions(&mut source, "app").await.unwrap();
    let theirs = definitions(&mut target, "app").await.unwrap();
    assert_eq!(ours, theirs);
}

/// Makes two zones known to the target, with the European Union's daylight saving time in every year: one an hour, one two hours east of UTC.
async fn name_zones(rig: &Rig) {
    let days = "WITH RECURSIVE years (y) AS (SELECT 1970 UNION ALL SELECT y + 1 FROM years WHERE y < 2037), \
                ends (e, kind) AS (SELECT DATE(CONCAT(y, '-03-31')), 1 FROM years UNION ALL SELECT DATE(CONCAT(y, '-10-31')), 0 FROM years)";
    for (id, name, hours) in [(901, "Test/Own", 1), (902, "Test/Other", 2)] {
        run(
            &mut rig.target_conn().await,
            &format!(
                "INSERT INTO mysql.time_zone (time_zone_id, use_leap_seconds) VALUES ({id}, 'N');
                 INSERT INTO mysql.time_zone_name VALUES ('{name}', {id});
                 INSERT INTO mysql.time_zone_transition_type VALUES ({id}, 0, 3600 * {hours}, 0, 'STD'), ({id}, 1, 3600 * ({hours} + 1), 1, 'DST');
                 INSERT INTO mysql.time_zone_transition {days}
                 SELECT {id}, TIMESTAMPDIFF(SECOND, '1970-01-01', TIMESTAMP(e - INTERVAL (DAYOFWEEK(e) - 1) DAY, '01:00:00')), kind FROM ends"
            ),
        )
        .await;
    }
}

/// Follows the statements between a source and a target in such zones, without being told about them.
async fn followed(source: &str, target: &str) {
    let mut rig = Rig::new(&Plan {
        source: &[source],
        target: &[target],
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLES).await;
    rig.start();
    rig.on_source(STATEMENTS).await;
    rig.settle().await;
    assert_alike(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_never_changed_is_told() {
    followed("TZ=JST-9", "TZ=EST5EDT,M3.2.0,M11.1.0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_keep_the_same_time_have_a_zone_in_common() {
    followed("TZ=CET-1CEST,M3.5.0,M10.5.0/3", "TZ=CET-1CEST,M3.5.0,M10.5.0/3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_can_not_be_told_is_asked_for() {
    let mut rig = Rig::new(&Plan {
        source: &["TZ=CET-1CEST,M3.5.0,M10.5.0/3"],
        target: &["TZ=UTC"],
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLES).await;
    name_zones(&rig).await;
    rig.start();
    rig.on_source(STATEMENTS).await;
    let stopped = why(&mut rig);
    assert!(stopped.contains("system_time_zone"), "{stopped}");
    rig.sidecar.stop(PATIENCE).unwrap();
    configure(
        &rig,
        "[source]\n",
        "[source]\nsystem_time_zone = \"Test/Other\"\n",
    );
    rig.sidecar.start().unwrap();
    let stopped = why(&mut rig);
    assert!(stopped.contains("does not run as in Test/Other"), "{stopped}");
    rig.sidecar.stop(PATIENCE).unwrap();
    configure(&rig, "Test/Other", "Test/Own");
    rig.start();
    rig.settle().await;
    assert_alike(&rig).await;
}
