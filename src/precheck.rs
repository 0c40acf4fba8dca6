//! Whether source and targets can be used, asked before anything is started. Each answer is a sentence.

use outrigger_applier::checkpoint;

use crate::config::Config;

/// One question and its answer.
#[derive(Debug)]
pub struct Finding {
    /// What was asked.
    pub subject: String,
    /// What was found, or what is wrong and what to do.
    pub outcome: Result<String, String>,
}

/// Asks the source and the target of every task, and reads the proxy's certificate.
pub async fn check(config: &Config) -> Vec<Finding> {
    let source = &config.capture.source;
    let outcome = outrigger_capture::check(&config.capture)
        .await
        .map_err(|error| error.to_string())
        .map(|info| {
            let gtids = if info.gtids {
                "GTIDs"
            } else {
                "binlog files and offsets"
            };
            let durable = match info.durable {
                true => "",
                false => {
                    "; it does not sync each commit to disk (sync_binlog, innodb_flush_log_at_trx_commit): a crash of its host can take back \
                     transactions that the targets have already"
                }
            };
            format!("MySQL {}, positions by {gtids}{durable}", info.version)
        });
    let mut findings = vec![Finding {
        subject: format!("source {}", source.address),
        outcome,
    }];
    let certificate = config.proxy.as_ref().map(|proxy| proxy.tls.check());
    match certificate {
        None | Some(Ok(false)) => {}
        Some(read) => findings.push(Finding {
            subject: "proxy".to_owned(),
            outcome: read
                .map(|_read| "its certificate serves".to_owned())
                .map_err(|error| error.to_string()),
        }),
    }
    for task in &config.tasks {
        let found = checkpoint(&task.target, &task.metadata_database, &task.name).await;
        let outcome = found.map_err(|error| error.to_string()).map(|found| match found {
            None => "reachable, nothing was applied yet".to_owned(),
            Some(found) if found.exact_after.is_none() => "reachable, a copy is unfinished".to_owned(),
            Some(found) => format!("reachable, applied up to {}", found.position),
        });
        findings.push(Finding {
            subject: format!("task {}, target {}", task.name, task.target.address),
            outcome,
        });
    }
    findings
}

/// The findings, a line each.
pub fn render(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| match &finding.outcome {
            Ok(found) => format!("ok    {}: {found}\n", finding.subject),
            Err(error) => format!("FAIL  {}: {error}\n", finding.subject),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_lines() {
        let findings = [
            Finding {
                subject: "source a:1".to_owned(),
                outcome: Ok("MySQL 9.7.0".to_owned()),
            },
            Finding {
                subject: "task m, target b:2".to_owned(),
                outcome: Err("no answer".to_owned()),
            },
        ];
        assert_eq!(
            render(&findings),
            "ok    source a:1: MySQL 9.7.0\nFAIL  task m, target b:2: no answer\n"
        );
    }
}
