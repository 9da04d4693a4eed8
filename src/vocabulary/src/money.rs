//! Prices.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub};

/// US dollars per hour of one machine. Never NaN; ordered totally.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UsdPerHour(f64);

impl UsdPerHour {
    pub const ZERO: UsdPerHour = UsdPerHour(0.0);

    /// `None` for NaN and infinities, which no price list means.
    pub fn new(dollars: f64) -> Option<Self> {
        dollars.is_finite().then_some(UsdPerHour(dollars))
    }

    pub fn dollars(self) -> f64 {
        self.0
    }
}

impl PartialEq for UsdPerHour {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for UsdPerHour {}
impl PartialOrd for UsdPerHour {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for UsdPerHour {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}
impl Add for UsdPerHour {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        UsdPerHour(self.0 + other.0)
    }
}
impl AddAssign for UsdPerHour {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}
impl Sub for UsdPerHour {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        UsdPerHour(self.0 - other.0)
    }
}
impl Mul<f64> for UsdPerHour {
    type Output = Self;
    fn mul(self, factor: f64) -> Self {
        UsdPerHour(self.0 * factor)
    }
}
impl Sum for UsdPerHour {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for UsdPerHour {
    /// `$0.096`, with up to six digits and no trailing zeros, at least three.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.6}", self.0);
        let (whole, digits) = text.split_once('.').unwrap_or((&text, "000"));
        let kept = digits.trim_end_matches('0').len().max(3);
        write!(f, "${whole}.{}", &digits[..kept])
    }
}
