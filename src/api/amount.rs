//! How much is "500Gi"? Amounts of bytes as Kubernetes writes them: one whole number and a binary unit.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text::TextVisitor;

const PATTERN: &str = "^[0-9]{1,6}(Ki|Mi|Gi|Ti|Pi)$";

const UNITS: [(&str, u32); 5] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50)];

/// An amount of bytes written as one number with its unit: `100Mi`, `500Gi`, `2Ti`. At most six digits, so that it fits an `i64` in
/// every unit but `Pi`, where it stops at the largest one that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount {
    n: u32,
    shift: u32,
}

/// Why a text is no [`Amount`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an amount: write one whole number of at most six digits and Ki, Mi, Gi, Ti or Pi, such as \"500Gi\"")]
pub struct AmountError(String);

impl Amount {
    /// The amount in bytes; the largest `i64` where it is more.
    #[must_use]
    pub fn bytes(self) -> i64 {
        i64::try_from(u128::from(self.n) << self.shift).unwrap_or(i64::MAX)
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let read = || {
            let (unit, shift) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
            let digits = text.strip_suffix(unit)?;
            let is_number = (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            let n = is_number.then(|| digits.parse().ok()).flatten()?;
            Some(Self { n, shift: *shift })
        };
        read().ok_or_else(|| AmountError(text.to_owned()))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, shift)| *shift == self.shift).map_or("", |(unit, _)| unit);
        write!(f, "{}{unit}", self.n)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor::new("an amount of bytes such as \"500Gi\""))
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": PATTERN})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_a_number_and_a_binary_unit() {
        for (text, bytes) in [("1Ki", 1 << 10), ("500Gi", 500 << 30), ("0Mi", 0), ("999999Pi", i64::MAX)] {
            let amount: Amount = text.parse().unwrap();
            assert_eq!((amount.bytes(), amount.to_string().as_str()), (bytes, text));
        }
        for text in ["", "10", "Gi", "1.5Gi", "-1Gi", "1GB", "1 Gi", "1234567Gi", "１Gi"] {
            assert_eq!(text.parse::<Amount>(), Err(AmountError(text.into())));
        }
        assert!(serde_json::from_str::<Amount>("5").unwrap_err().to_string().contains("the bare number 5 is not accepted"));
    }
}
