//! `outrigger-bench`: one command per area, each beside its peers on real servers of its own. It owns how speed is measured
//! and printed; what the figures mean is in `bench/README.md`. Figures go to stdout, what is going on to stderr.

mod apply;
mod bar;
mod capture;
mod copy;
mod decode;
mod guard;
mod lab;
mod link;
mod load;
mod proxy;
mod tables;
mod usage;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Benchmarks beside peers. Each prints lines `bar NAME ours VALUE UNIT peer PEER VALUE ratio R`, where R is ours / peer.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// What is measured.
    #[command(subcommand)]
    area: Area,
}

#[derive(Debug, Subcommand)]
enum Area {
    /// The binlog into the durable log, beside `mysqlbinlog --raw`.
    Capture(capture::Flags),
    /// Rows events into typed values, beside `mysql_common`'s `BinlogRow`.
    Decode(decode::Flags),
    /// The first copy of all rows, beside `mysqldump | mysql`, and mydumper with myloader when installed.
    Copy(copy::Flags),
    /// A backlog of small transactions and the delay under a steady load, beside MySQL's own replica.
    Apply(apply::Flags),
    /// Point selects through the proxy, beside a direct connection, and HAProxy when installed.
    Proxy(proxy::Flags),
    /// What the proxy's guard takes to judge a statement.
    Guard(guard::Flags),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        match &cli.area {
            Area::Capture(flags) => capture::run(flags).await,
            Area::Decode(flags) => decode::run(flags),
            Area::Copy(flags) => copy::run(flags).await,
            Area::Apply(flags) => Box::pin(apply::run(flags)).await,
            Area::Proxy(flags) => proxy::run(flags).await,
            Area::Guard(flags) => guard::run(flags),
        }
    })
}
