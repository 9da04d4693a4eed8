//! Types, offerings and prices of a region as files: listed, compared, read from an account.

mod diff;
mod refresh;

pub use diff::{Change, diff};
pub use fake_ec2::catalogue::{File, FileError, Offer};
pub use refresh::{RefreshError, refresh};

use fake_ec2::services::filter::glob;
use serde_json::{Value, json};
use std::path::Path;

#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("{0} is neither a file that can be read ({1}) nor a region; regions are {2}")]
    Nothing(String, std::io::Error, String),
    #[error(transparent)]
    File(#[from] FileError),
}

/// A catalogue by its file's path, or what is built in of a region by its name.
pub fn open(named: &str) -> Result<File, CatalogueError> {
    if let Some(built_in) = File::built_in(named) {
        return Ok(built_in);
    }
    read(Path::new(named))
}

/// A catalogue's file.
pub fn read(path: &Path) -> Result<File, CatalogueError> {
    let named = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let regions: Vec<&str> = fake_ec2::catalogue::regions().keys().copied().collect();
        CatalogueError::Nothing(named.clone(), error, regions.join(", "))
    })?;
    Ok(File::read(&named, &text)?)
}

/// The catalogue, if it is of this region.
pub fn of_region<'a>(file: &'a File, region: &str, path: &Path) -> Result<&'a File, CatalogueError> {
    if file.region == region {
        return Ok(file);
    }
    Err(FileError::Region(path.display().to_string(), file.region.clone(), region.to_owned()).into())
}

/// What a list shows; empty means all.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Names, with `*`.
    pub types: Vec<String>,
    pub zones: Vec<String>,
    /// `x86_64`, `arm64`.
    pub architecture: Option<String>,
    pub vcpus: Option<u64>,
    /// Most dollars per hour on demand.
    pub most: Option<f64>,
    pub spot: bool,
}

/// One type, as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub name: String,
    pub vcpus: u64,
    pub memory_mib: u64,
    pub architectures: Vec<String>,
    pub zones: Vec<String>,
    pub on_demand: Option<String>,
    /// The cheapest zone's.
    pub spot: Option<String>,
}

pub fn list(file: &File, wanted: &Wanted) -> Vec<Row> {
    let rows = file.types.iter().map(|(name, offer)| row(name, offer, &wanted.zones));
    rows.filter(|row| meets(row, wanted)).collect()
}

fn row(name: &str, offer: &Offer, zones: &[String]) -> Row {
    let number = |pointer: &str| offer.details.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let texts = |pointer: &str| -> Vec<String> {
        let list = offer.details.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let asked = |zone: &&String| zones.is_empty() || zones.contains(zone);
    let spot = offer.spot.iter().filter(|(zone, _)| asked(zone)).map(|(_, price)| price);
    Row {
        name: name.to_owned(),
        vcpus: number("/VCpuInfo/DefaultVCpus"),
        memory_mib: number("/MemoryInfo/SizeInMiB"),
        architectures: texts("/ProcessorInfo/SupportedArchitectures"),
        zones: offer.zones.iter().filter(asked).cloned().collect(),
        on_demand: offer.on_demand.clone(),
        spot: spot.min_by(|one, two| dollars(one).total_cmp(&dollars(two))).cloned(),
    }
}

fn dollars(price: &str) -> f64 {
    price.parse().unwrap_or(f64::INFINITY)
}

fn meets(row: &Row, wanted: &Wanted) -> bool {
    let price = if wanted.spot { &row.spot } else { &row.on_demand };
    !row.zones.is_empty()
        && (wanted.types.is_empty() || wanted.types.iter().any(|pattern| glob(pattern, &row.name)))
        && wanted.architecture.as_ref().is_none_or(|one| row.architectures.contains(one))
        && wanted.vcpus.is_none_or(|vcpus| row.vcpus == vcpus)
        && (!wanted.spot || row.spot.is_some())
        && wanted.most.is_none_or(|most| price.as_deref().is_some_and(|price| dollars(price) <= most))
}

impl Row {
    pub fn to_json(&self) -> Value {
        json!({
            "type": self.name, "vcpus": self.vcpus, "memoryMiB": self.memory_mib, "architectures": self.architectures, "zones": self.zones,
            "onDemand": self.on_demand, "spot": self.spot,
        })
    }
}

/// Rows as columns that line up.
pub fn table(rows: &[Row]) -> String {
    let head = ["TYPE", "VCPU", "MEMORY", "ON DEMAND", "SPOT FROM", "ZONES"].map(str::to_owned);
    let price = |price: &Option<String>| price.as_ref().map_or("-".to_owned(), |price| format!("${price}"));
    let cells = rows.iter().map(|row| {
        let memory = format!("{} GiB", row.memory_mib as f64 / 1024.0);
        [row.name.clone(), row.vcpus.to_string(), memory, price(&row.on_demand), price(&row.spot), row.zones.join(" ")]
    });
    let cells: Vec<[String; 6]> = std::iter::once(head).chain(cells).collect();
    let widths: Vec<usize> = (0..6).map(|at| cells.iter().map(|row| row[at].len()).max().unwrap_or(0)).collect();
    let line = |row: &[String; 6]| {
        let padded: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    cells.iter().map(line).collect()
}
