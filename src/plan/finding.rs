//! What does a note's identifier mean? The registry of findings, for `pgreeve explain` and the reference.

/// Something that a plan points out, and a person decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Identifier, such as `PGR-204`. It never changes its meaning.
    pub id: &'static str,
    /// The finding in a few words.
    pub title: &'static str,
    /// What it means, and what happens if nothing is done.
    pub meaning: &'static str,
    /// What a person does about it.
    pub remedy: &'static str,
}

/// A partition that is left alone.
pub const UNMANAGED: Finding = Finding {
    id: "PGR-201",
    title: "unmanaged partition",
    meaning: "The partition's bounds do not lie on the policy's grid, cannot be read as its key, it is a foreign table, it lies far beyond what the policy asks for with a gap before it, or its detach is pending. pgreeve never touches such a partition; rows in it stay where they are, and no partition is created that would overlap it.",
    remedy: "If it should be managed, set spec.interval, spec.anchor and spec.timeZone so that the grid meets its bounds (pgreeve adopt proposes them). Finalize a pending detach with ALTER TABLE … DETACH PARTITION … FINALIZE. Otherwise nothing needs to be done.",
};

/// Rows that belong to no partition.
pub const DEFAULT_NOT_EMPTY: Finding = Finding {
    id: "PGR-204",
    title: "default partition not empty",
    meaning: "Rows have arrived for which no partition existed. While they are in the default partition, the partitions that they belong to cannot be created, and each creation must prove that none of its rows are there.",
    remedy: "Look at the key's values in the default partition. Wrong values want correcting where they are written; right ones want their partition: move the rows to another table, let the partition be created, and insert them again.",
};

/// More partitions than planning bears.
pub const MANY_PARTITIONS: Finding = Finding {
    id: "PGR-205",
    title: "many partitions",
    meaning: "The table has more than a thousand partitions. A query that does not name the partition key plans for all of them: measured, 19 ms of planning at a thousand, and memory for each in every session.",
    remedy: "Choose a longer interval for new partitions, retire old ones, or make sure that frequent queries restrict the partition key.",
};

/// A partition in another tablespace than the template's.
pub const OTHER_TABLESPACE: Finding = Finding {
    id: "PGR-206",
    title: "partition in another tablespace",
    meaning: "The policy's template names a tablespace and an existing partition is in another. Moving it would rewrite the whole partition under ACCESS EXCLUSIVE, so a pass does not do it; new partitions are created in the right one.",
    remedy: "Move it in a quiet hour with ALTER TABLE … SET TABLESPACE …, or leave it until it is retired.",
};

/// An index that a pass does not build.
pub const INDEX_TOO_LARGE: Finding = Finding {
    id: "PGR-207",
    title: "index too large for a pass",
    meaning: "The policy's template names an index that an existing partition lacks, and the partition is larger than 256 MiB, so that building it would take longer than a pass may. New partitions get the index.",
    remedy: "Build it by hand with CREATE INDEX CONCURRENTLY, under the name that the note gives.",
};

/// A new partition that holds only a part of a slot.
pub const PART_OF_A_SLOT: Finding = Finding {
    id: "PGR-208",
    title: "partition for a part of a slot",
    meaning: "An existing partition that does not lie on the policy's grid holds a part of a slot in which rows are due, so the new partition gets what is left of it and meets its neighbours exactly. That happens where the rules of a time zone changed after partitions were made ahead, or beside a partition that was made by hand. The new one is off the grid too and is left alone from then on.",
    remedy: "Nothing, if the odd partition is known. If there are several, compare spec.interval, spec.anchor and spec.timeZone with the bounds that exist before the plan is carried out.",
};

/// Triggers that a removal of rows fires.
pub const DELETE_TRIGGERS: Finding = Finding {
    id: "PGR-221",
    title: "triggers fire for rows that go",
    meaning: "The table has triggers of its own that a DELETE fires, and archiving a row deletes it here. They run for every row that goes, in the transaction that moves it; what they do slows the run down or reaches further than the policy says.",
    remedy: "Make sure that the triggers mean to run for rows that grow old. If not, let them return early for the owner's role, or disable them and do what they do by other means.",
};

/// An archive table that refuses what has been in it before.
pub const UNIQUE_ARCHIVE: Finding = Finding {
    id: "PGR-222",
    title: "unique index on an archive table",
    meaning: "The archive table has a unique index. A row whose key was archived before, because the key was used again, cannot be archived: its batch fails and the run stops there. Archive tables that pgreeve creates have no unique index.",
    remedy: "Replace the unique index or primary key of the archive table by a plain index on the same columns.",
};

/// A partition whose age is not known.
pub const KEPT_UNREADABLE: Finding = Finding {
    id: "PGR-231",
    title: "partition of unknown age",
    meaning: "The partition's bounds cannot be read as the table's key, it is a foreign table, or it is itself partitioned. Whether it has expired cannot be said, so it is kept.",
    remedy: "Give spec.key with the right encoding if the key is an integer that tells the time; make a RetentionPolicy of its own for a partition that is itself partitioned. Otherwise nothing needs to be done.",
};

/// A partition that a hold keeps.
pub const ON_HOLD: Finding = Finding {
    id: "PGR-232",
    title: "partition on hold",
    meaning: "The partition has expired by the policy's terms, and a RetentionHold keeps it. A hold beats every policy until it ends.",
    remedy: "Nothing; when the hold ends or is deleted, the partition goes with the next run.",
};

/// Every finding, by its identifier.
pub const ALL: [Finding; 10] = [
    UNMANAGED,
    DEFAULT_NOT_EMPTY,
    MANY_PARTITIONS,
    OTHER_TABLESPACE,
    INDEX_TOO_LARGE,
    PART_OF_A_SLOT,
    DELETE_TRIGGERS,
    UNIQUE_ARCHIVE,
    KEPT_UNREADABLE,
    ON_HOLD,
];

/// The finding with this identifier, in any case.
pub fn find(id: &str) -> Option<Finding> {
    ALL.into_iter().find(|finding| finding.id.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_in_order_and_none_is_there_twice() {
        assert!(ALL.windows(2).all(|pair| pair[0].id < pair[1].id));
        assert_eq!(find("pgr-204"), Some(DEFAULT_NOT_EMPTY));
        assert_eq!(find("PGR-000"), None);
    }
}
