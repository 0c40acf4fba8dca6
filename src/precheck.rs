//! Whether source and targets can be used, asked before anything is started. Each answer is a sentence.

use outrigger_applier::{absent, check_system_zone, checkpoint};

use crate::config::Config;

/// One question and its answer.
#[derive(Debug)]
pub struct Finding {
    /// What was asked.
    pub subject: String,
    /// What was found, or what is wrong and what to do.
    pub outcome: Result<String, String>,
    /// What was found may be in the way: somebody should know.
    pub doubtful: bool,
}

/// Asks the source, and where there is a proxy for its accounts too, and the target of every task; reads the proxy's certificate.
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
        doubtful: false,
    }];
    let source_answers = findings.iter().all(|finding| finding.outcome.is_ok());
    if config.proxy.is_some() && source_answers {
        findings.push(accounts(&config.capture).await);
    }
    let certificate = config.proxy.as_ref().map(|proxy| proxy.tls.check());
    match certificate {
        None | Some(Ok(false)) => {}
        Some(read) => findings.push(Finding {
            subject: "proxy".to_owned(),
            outcome: read
                .map(|_read| "its certificate serves".to_owned())
                .map_err(|error| error.to_string()),
            doubtful: false,
        }),
    }
    for task in &config.tasks {
        let found = checkpoint(&task.target, &task.metadata_database, &task.name).await;
        let target_answers = found.is_ok();
        let outcome = found.map_err(|error| error.to_string()).map(|found| match found {
            None => "reachable, nothing was applied yet".to_owned(),
            Some(found) if found.exact_after.is_none() => "reachable, a copy is unfinished".to_owned(),
            Some(found) => format!("reachable, applied up to {}", found.position),
        });
        findings.push(Finding {
            subject: format!("task {}, target {}", task.name, task.target.address),
            outcome,
            doubtful: false,
        });
        if source_answers {
            findings.extend(selected(task).await);
        }
        if source_answers && target_answers {
            findings.extend(time_zone(task).await);
        }
    }
    findings
}

/// Names that the task selects and the source does not have, if any: a mistake in writing, or what is still to come.
async fn selected(task: &outrigger_applier::Config) -> Option<Finding> {
    let found = match absent(task).await {
        Ok(absent) if absent.is_empty() => return None,
        Ok(absent) => format!(
            "the source has nothing of these names in `include`, or hides it from the account: {}",
            absent.join(", ")
        ),
        Err(error) => format!("whether what it selects is there can't be told: {error}"),
    };
    Some(Finding {
        subject: format!("task {}, source {}", task.name, task.source.address),
        outcome: Ok(found),
        doubtful: true,
    })
}

/// Whether the target can be told the time zone of the source's machine, where that matters.
async fn time_zone(task: &outrigger_applier::Config) -> Option<Finding> {
    let error = check_system_zone(task).await.err()?;
    Some(Finding {
        subject: format!("task {}, time zone", task.name),
        outcome: Ok(error.to_string()),
        doubtful: true,
    })
}

/// No more accounts than this are named.
const NAMED: usize = 20;

/// Whether accounts of the source let applications in that come through the proxy: from its address, not from their own.
async fn accounts(capture: &outrigger_capture::Config) -> Finding {
    let (found, doubtful) = match outrigger_capture::reach(capture).await {
        Err(error) => (
            format!("whether they let in who comes through the proxy can't be told: {error}"),
            true,
        ),
        Ok(reach) if reach.shut_out.is_empty() => (
            format!("all let in who comes from {}, as through the proxy", reach.host),
            false,
        ),
        Ok(reach) => (shut_out(&reach), true),
    };
    Finding {
        subject: "accounts of the source".to_owned(),
        outcome: Ok(found),
        doubtful,
    }
}

fn shut_out(reach: &outrigger_capture::Reach) -> String {
    let names = reach
        .shut_out
        .iter()
        .take(NAMED)
        .map(|account| match &account.instead {
            Some(instead) => format!("{} (it is then {instead})", account.account),
            None => account.account.clone(),
        });
    let names: Vec<_> = names.collect();
    let more = match reach.shut_out.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "through the proxy applications come from {}, from where these don't let them in: {}{more}",
        reach.host,
        names.join(", ")
    )
}

/// The findings, a line each.
pub fn render(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| match &finding.outcome {
            Ok(found) if finding.doubtful => format!("warn  {}: {found}\n", finding.subject),
            Ok(found) => format!("ok    {}: {found}\n", finding.subject),
            // Most errors of the source begin with its address themselves.
            Err(error) if error.starts_with(&format!("{}: ", finding.subject)) => {
                format!("FAIL  {error}\n")
            }
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
                doubtful: false,
            },
            Finding {
                subject: "accounts".to_owned(),
                outcome: Ok("app@10.%".to_owned()),
                doubtful: true,
            },
            Finding {
                subject: "task m, target b:2".to_owned(),
                outcome: Err("no answer".to_owned()),
                doubtful: false,
            },
            Finding {
                subject: "source a:1".to_owned(),
                outcome: Err("source a:1: TLS: refused".to_owned()),
                doubtful: false,
            },
        ];
        assert_eq!(
            render(&findings),
            "ok    source a:1: MySQL 9.7.0\nwarn  accounts: app@10.%\nFAIL  task m, target b:2: no answer\n\
             FAIL  source a:1: TLS: refused\n"
        );
    }
}
