//! A figure's line, and what a figure is made of: the median of each contestant's rounds.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;

/// One figure: what is measured, and in what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure<'a> {
    /// Its name, without spaces.
    pub(crate) name: &'a str,
    /// Its unit, without spaces.
    pub(crate) unit: &'a str,
}

/// Prints a figure's line from the rounds of both contestants.
pub(crate) fn print(figure: Figure<'_>, ours: &[f64], peer: &str, theirs: &[f64]) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", line(figure, median(ours), peer, median(theirs)))?;
    Ok(out.flush()?)
}

fn line(figure: Figure<'_>, ours: f64, peer: &str, theirs: f64) -> String {
    format!(
        "bar {} ours {} {} peer {peer} {} ratio {:.2}",
        figure.name,
        number(ours),
        figure.unit,
        number(theirs),
        ours / theirs
    )
}

/// Three digits or the whole number.
fn number(value: f64) -> String {
    let decimals = match value {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// The middle value; of an even number of values the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

/// The value that `percent` of a hundred values do not exceed, in milliseconds. Sorts the values.
pub(crate) fn percentile(values: &mut [Duration], percent: usize) -> f64 {
    values.sort();
    let rank = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values
        .get(rank)
        .map_or(f64::NAN, |value| value.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_eleven_words() {
        let figure = Figure {
            name: "drain",
            unit: "transactions/s",
        };
        assert_eq!(
            line(figure, 3000.4, "native-replica", 1200.0),
            "bar drain ours 3000 transactions/s peer native-replica 1200 ratio 2.50"
        );
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(1.234), "1.23");
    }

    #[test]
    fn medians_do_not_depend_on_the_order() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut values: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        assert!((percentile(&mut values, 50) - 100.0).abs() < 1e-9);
        assert!((percentile(&mut values, 99) - 198.0).abs() < 1e-9);
        assert!(percentile(&mut [], 50).is_nan());
    }
}
