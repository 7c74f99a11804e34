//! What lies between two bounds? Values, bounds and ranges of a partition key, in the order PostgreSQL gives them.

/// A value of a partition key as a number that sorts like the value itself.
///
/// Days since 1970-01-01 for `date`, microseconds since 1970-01-01 for timestamps, the value for integers, and the 128 bits
/// of a uuid or ULID shifted by 2^127, so that all fit one signed type. Only ordinals of the same [`Key`](super::Key)
/// compare. Values come from [`Key::integer`](super::Key::integer), from a grid or from the catalog, never from arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(i128);

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bound {
    /// Below every value, `-infinity` included.
    MinValue,
    /// At a value.
    Value(Ordinal),
    /// Above every value, `infinity` included.
    MaxValue,
}

/// The values from `lower`, inclusive, to `upper`, exclusive: what one partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    lower: Bound,
    upper: Bound,
}

impl Ordinal {
    /// `infinity` of a date or timestamp: above every finite value, below MAXVALUE.
    pub(super) const INFINITY: Self = Self(i128::MAX);
    /// `-infinity` of a date or timestamp.
    pub(super) const NEGATIVE_INFINITY: Self = Self(i128::MIN);

    pub(in crate::plan) const fn new(value: i128) -> Self {
        Self(value)
    }

    /// The number. For a plain integer key it is the value.
    #[must_use]
    pub const fn get(self) -> i128 {
        self.0
    }

    /// From the bits of a uuid or ULID: flipping the top bit keeps unsigned order in a signed number.
    pub(super) const fn from_bits(bits: u128) -> Self {
        Self((bits ^ (1 << 127)).cast_signed())
    }

    pub(super) const fn bits(self) -> u128 {
        self.0.cast_unsigned() ^ (1 << 127)
    }
}

impl Bound {
    /// The value, if the bound is one.
    #[must_use]
    pub const fn value(self) -> Option<Ordinal> {
        match self {
            Self::Value(ordinal) => Some(ordinal),
            Self::MinValue | Self::MaxValue => None,
        }
    }
}

impl Range {
    /// `None` when nothing lies between the bounds; PostgreSQL refuses such a partition too.
    #[must_use]
    pub fn new(lower: Bound, upper: Bound) -> Option<Self> {
        (lower < upper).then_some(Self { lower, upper })
    }

    /// The inclusive end.
    #[must_use]
    pub const fn lower(&self) -> Bound {
        self.lower
    }

    /// The exclusive end.
    #[must_use]
    pub const fn upper(&self) -> Bound {
        self.upper
    }

    /// Whether a row with this key belongs to the range.
    #[must_use]
    pub fn contains(&self, ordinal: Ordinal) -> bool {
        self.lower <= Bound::Value(ordinal) && Bound::Value(ordinal) < self.upper
    }

    /// Whether every value of `other` belongs to the range.
    #[must_use]
    pub fn encloses(&self, other: &Self) -> bool {
        self.lower <= other.lower && other.upper <= self.upper
    }

    /// Whether some value could belong to both: PostgreSQL refuses the second of two such partitions.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.lower < other.upper && other.lower < self.upper
    }

    /// Whether one range ends where the other begins.
    #[must_use]
    pub fn is_adjacent_to(&self, other: &Self) -> bool {
        self.upper == other.lower || other.upper == self.lower
    }
}
