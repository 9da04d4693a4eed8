//! Recorded Spot prices: a file of CSV or of JSON lines, as `aws ec2 describe-spot-price-history` tells them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::market::parse_usd;
use crate::catalogue::{self, MicroUsd};

/// Prices by type and zone, each from so long after the trace's beginning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    pools: BTreeMap<String, BTreeMap<String, Vec<(SignedDuration, MicroUsd)>>>,
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {why}; {remedy}")]
pub struct TraceError {
    pub file: String,
    /// One-based; 0 of the file as a whole.
    pub line: usize,
    pub why: String,
    pub remedy: String,
}

/// Columns of CSV in the order in which they are asked for, with the member of EC2's reply that says the same.
const COLUMNS: [(&str, &str); 5] = [
    ("timestamp", "Timestamp"),
    ("instance_type", "InstanceType"),
    ("availability_zone", "AvailabilityZone"),
    ("spot_price", "SpotPrice"),
    ("product_description", "ProductDescription"),
];

/// When a row's price begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    At(Timestamp),
    After(SignedDuration),
}

impl Trace {
    /// Reads a trace for a region. `file` is its name in messages.
    ///
    /// CSV has a header with `timestamp,instance_type,availability_zone,spot_price` and perhaps `product_description`, in any order; JSON
    /// lines have EC2's members. A timestamp is an instant (`2026-11-20T17:00:00Z`; the earliest of the file is its beginning) or a time
    /// after the beginning (`+1h30m`). Rows of other products than `Linux/UNIX` are left out.
    pub fn read(file: &str, text: &str, region: &str) -> Result<Self, TraceError> {
        let mut lines =
            text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let error = |line: usize, why: String, remedy: &str| TraceError { file: file.to_owned(), line, why, remedy: remedy.to_owned() };
        let Some(first) = lines.next() else {
            return Err(error(0, "the trace is empty".into(), "write a header and a row per change of price"));
        };
        let json = first.1.starts_with('{');
        let columns = if json {
            [Some(0), Some(0), Some(0), Some(0), Some(0)]
        } else {
            header(first.1).map_err(|why| error(first.0, why, HEADER))?
        };
        let rows = json.then_some(first).into_iter().chain(lines);
        let mut read = Vec::new();
        for (number, line) in rows {
            let cells = if json { members(line) } else { Ok(cells(line, columns)) };
            let cells = cells.map_err(|why| error(number, why, "write one object per line, as jq -c '.SpotPriceHistory[]' does"))?;
            if let Some(row) = row(&cells, region).map_err(|(why, remedy)| error(number, why, &remedy))? {
                read.push((number, row));
            }
        }
        Self::of(read).map_err(|(line, why, remedy)| error(line, why, remedy))
    }

    fn of(rows: Vec<(usize, (When, String, String, MicroUsd))>) -> Result<Self, (usize, String, &'static str)> {
        let earliest = rows.iter().filter_map(|(_, (when, ..))| if let When::At(at) = when { Some(*at) } else { None }).min();
        let mut trace = Self::default();
        for (line, (when, instance_type, zone, price)) in rows {
            let after = match (when, earliest) {
                (When::After(after), None) => after,
                (When::At(at), Some(earliest)) => at.duration_since(earliest),
                _ => return Err((line, "instants and times after the beginning in one trace".into(), "write all of one kind")),
            };
            trace.pools.entry(instance_type).or_default().entry(zone).or_default().push((after, price));
        }
        if trace.pools.is_empty() {
            return Err((
                0,
                "the trace has no price of Linux/UNIX".into(),
                "leave product_description out, or record with --product-descriptions Linux/UNIX",
            ));
        }
        for rows in trace.pools.values_mut().flat_map(BTreeMap::values_mut) {
            // The last of a file decides among rows of one instant.
            rows.sort_by_key(|(after, _)| *after);
        }
        Ok(trace)
    }

    /// A pool's prices in the order of time; `None` if the trace has none.
    pub(crate) fn rows(&self, instance_type: &str, zone: &str) -> Option<&[(SignedDuration, MicroUsd)]> {
        self.pools.get(instance_type)?.get(zone).map(Vec::as_slice)
    }

    /// How many pools it is about.
    pub fn pools(&self) -> usize {
        self.pools.values().map(BTreeMap::len).sum()
    }
}

const HEADER: &str = "begin with timestamp,instance_type,availability_zone,spot_price";

/// Where each column stands.
fn header(line: &str) -> Result<[Option<usize>; 5], String> {
    let names: Vec<String> = split(line).into_iter().map(|name| name.to_ascii_lowercase().replace([' ', '-'], "_")).collect();
    if let Some(unknown) = names.iter().find(|name| !COLUMNS.iter().any(|(known, _)| known == name)) {
        return Err(format!("there is no column {unknown:?}"));
    }
    let found = COLUMNS.map(|(known, _)| names.iter().position(|name| name == known));
    match COLUMNS.iter().zip(found).find(|((name, _), at)| at.is_none() && *name != "product_description") {
        Some(((name, _), _)) => Err(format!("the column {name} is missing")),
        None => Ok(found),
    }
}

/// Prices and names hold no commas, so that quotes are all there is to take away.
fn split(line: &str) -> Vec<&str> {
    line.split(',').map(|cell| cell.trim().trim_matches('"')).collect()
}

fn cells(line: &str, columns: [Option<usize>; 5]) -> [Option<String>; 5] {
    let cells = split(line);
    columns.map(|at| cells.get(at?).filter(|cell| !cell.is_empty()).map(|cell| (*cell).to_owned()))
}

fn members(line: &str) -> Result<[Option<String>; 5], String> {
    let value: Value = serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
    Ok(COLUMNS.map(|(_, member)| value.get(member)?.as_str().map(str::to_owned)))
}

type Bad = (String, String);

/// One row, or nothing if it is of another product.
fn row([when, name, zone, price, product]: &[Option<String>; 5], region: &str) -> Result<Option<(When, String, String, MicroUsd)>, Bad> {
    if product.as_deref().is_some_and(|product| !matches!(product, "Linux/UNIX" | "Linux/UNIX (Amazon VPC)")) {
        return Ok(None);
    }
    let need = |cell: &Option<String>, column: &str| {
        cell.clone().ok_or_else(|| (format!("no {column}"), "each row needs all four values".to_owned()))
    };
    let (when, name, zone, price) = (need(when, "timestamp")?, need(name, "instance type")?, need(zone, "zone")?, need(price, "price")?);
    let instant = || (format!("cannot read the time {when:?}"), "write 2026-11-20T17:00:00Z, or +1h30m after the beginning".to_owned());
    let when = match when.strip_prefix('+') {
        Some(after) => When::After(after.parse::<SignedDuration>().ok().filter(|after| !after.is_negative()).ok_or_else(instant)?),
        None => When::At(when.parse().map_err(|_| instant())?),
    };
    if catalogue::instance_type(&name).is_none() {
        return Err((format!("there is no instance type {name:?}"), "write a type such as m5.large".to_owned()));
    }
    let zones: Vec<&str> =
        catalogue::region(region).map(|region| region.zones().iter().map(|zone| zone.name).collect()).unwrap_or_default();
    if !zones.contains(&zone.as_str()) {
        return Err((format!("{region} has no zone {zone:?}"), format!("its zones are {}", zones.join(", "))));
    }
    let price = parse_usd(&price)
        .ok_or_else(|| (format!("cannot read the price {price:?}"), "write dollars per hour, such as 0.0312".to_owned()))?;
    Ok(Some((when, name, zone, price)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn read(text: &str) -> Result<Trace, String> {
        Trace::read("prices.csv", text, "us-west-2").map_err(|error| error.to_string())
    }

    #[test]
    fn csv_and_json_lines_say_the_same() {
        let csv = "Timestamp,Instance Type,availability_zone,spot_price,product_description\n\
            2026-11-20T18:00:00Z,m5.large,us-west-2a,0.0400,Linux/UNIX\n2026-11-20T17:00:00Z,m5.large,us-west-2a,$0.031,Linux/UNIX\n\
            2026-11-20T16:00:00Z,m5.large,us-west-2a,0.9,Windows\n";
        let json = r#"{"Timestamp":"2026-11-20T17:00:00+00:00","InstanceType":"m5.large","AvailabilityZone":"us-west-2a","SpotPrice":"0.031000"}
            {"Timestamp":"2026-11-20T18:00:00Z","InstanceType":"m5.large","AvailabilityZone":"us-west-2a","SpotPrice":"0.04"}"#;
        let after = "spot_price,timestamp,instance_type,availability_zone\n0.031,+0s,m5.large,us-west-2a\n0.04,+1h,m5.large,us-west-2a";
        let expected = [(SignedDuration::ZERO, MicroUsd(31_000)), (SignedDuration::from_hours(1), MicroUsd(40_000))];
        for text in [csv, json, after] {
            assert_eq!(read(text).expect("a trace").rows("m5.large", "us-west-2a"), Some(&expected[..]));
        }
    }

    #[rstest]
    #[case("", "prices.csv, line 0: the trace is empty; write a header and a row per change of price")]
    #[case(
        "time,price\n",
        "prices.csv, line 1: there is no column \"time\"; begin with timestamp,instance_type,availability_zone,spot_price"
    )]
    #[case("timestamp,instance_type,spot_price", "prices.csv, line 1: the column availability_zone is missing; begin with")]
    #[case("timestamp,instance_type,availability_zone,spot_price\n\n+1h,m5.large,us-west-2a", "prices.csv, line 3: no price; each row")]
    #[case(
        "timestamp,instance_type,availability_zone,spot_price\n+1h,m5.lrge,us-west-2a,1",
        "line 2: there is no instance type \"m5.lrge\""
    )]
    #[case(
        "timestamp,instance_type,availability_zone,spot_price\n+1h,m5.large,us-east-1a,1",
        "us-west-2 has no zone \"us-east-1a\"; its zones are us-west-2a"
    )]
    #[case(
        "timestamp,instance_type,availability_zone,spot_price\n+1h,m5.large,us-west-2a,-1",
        "cannot read the price \"-1\"; write dollars"
    )]
    #[case("timestamp,instance_type,availability_zone,spot_price\nnoon,m5.large,us-west-2a,1", "cannot read the time \"noon\"; write 2026")]
    #[case(
        "timestamp,instance_type,availability_zone,spot_price\n+1h,m5.large,us-west-2a,1\n2026-11-20T17:00:00Z,m5.large,us-west-2a,1",
        "line 2: instants and times"
    )]
    #[case("{\"Timestamp\": \"+1h\"", "line 1: not JSON")]
    fn what_is_wrong_is_told_with_its_line_and_a_remedy(#[case] text: &str, #[case] expected: &str) {
        let told = read(text).expect_err("wrong");
        assert!(told.contains(expected), "{told}");
    }
}
