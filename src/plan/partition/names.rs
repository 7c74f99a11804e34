//! What are the new partitions called, so that no two relations of a schema share a name?

use std::collections::{BTreeMap, BTreeSet};

use super::super::naming;
use super::super::snapshot::{Details, Tree};
use super::layout::Layout;
use super::missing::Piece;

/// How many numbered names are asked for where a name is taken.
const ASKED: u64 = 100;

/// The names that are known to be taken, by schema. Every name that is given is taken from then on, so that two parents of one tree
/// whose partitions would share a name get two.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    taken: BTreeMap<String, BTreeSet<String>>,
}

impl Names {
    /// The names of the tree, and those that the catalog was asked for and has.
    pub fn of(tree: Option<&Tree>, details: &Details) -> Self {
        let mut names = Self { taken: details.taken.clone() };
        for parent in tree.iter().flat_map(|tree| &tree.parents) {
            for table in parent.partitions.iter().map(|partition| &partition.table).chain([&parent.table]) {
                names.taken.entry(table.schema.clone()).or_default().insert(table.name.clone());
            }
        }
        names
    }

    /// A free name for what would be called `wished`: with a number if that is taken, the same one every time.
    pub fn give(&mut self, schema: &str, wished: &str) -> String {
        let taken = self.taken.entry(schema.to_owned()).or_default();
        let name = naming::unique(wished, taken);
        taken.insert(name.clone());
        name
    }

    /// Gives a name and tells which ones the catalog must be asked for: the wish, and where it is taken those that are tried next.
    pub fn ask(&mut self, schema: &str, wished: &str) -> Vec<String> {
        if self.give(schema, wished) == naming::numbered(wished, 1) {
            return vec![naming::numbered(wished, 1)];
        }
        (1..=ASKED).map(|number| naming::numbered(wished, number)).collect()
    }
}

/// What a partition would be called if no name were taken.
pub(super) fn wished(layout: &Layout<'_>, piece: &Piece) -> String {
    layout.calendar.naming.name(&piece.slot, &layout.calendar.grid, &layout.parent.table)
}

/// What a default partition would be called if no name were taken.
pub(super) fn wished_default(layout: &Layout<'_>) -> String {
    format!("{}_default", layout.parent.table.name)
}
