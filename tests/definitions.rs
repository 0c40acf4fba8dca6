//! Definitions on the target: copied under settings of its own, changed while they are copied, changed by replay.

use crate::support::{Plan, Rig, definitions};

/// Fails unless both sides define the database's tables alike.
async fn assert_alike(rig: &Rig, database: &str) {
    let ours = definitions(&mut rig.source_conn().await, database).await.unwrap();
    let theirs = definitions(&mut rig.target_conn().await, database).await.unwrap();
    assert_eq!(ours, theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_are_what_they_are_on_the_source() {
    let mut rig = Rig::new(&Plan {
        target: &["--explicit-defaults-for-timestamp=OFF"],
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE TABLE app.t (id INT PRIMARY KEY, a TIMESTAMP NOT NULL, b TIMESTAMP NULL, c TIMESTAMP(3) NOT NULL)")
        .await;
    rig.start();
    assert_alike(&rig, "app").await;
}
