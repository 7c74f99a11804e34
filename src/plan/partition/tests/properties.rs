//! What holds for every calendar, every zone and every tree, however odd.

use std::collections::BTreeSet;

use jiff::tz::TimeZoneDatabase;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::super::super::action::{Action, Plan};
use super::super::super::grid::{Grid, Slot};
use super::super::super::key::{Bound, Ordinal, Range, literal, parse_bounds};
use super::super::calendar;
use super::world::{ROOT, World, bounds, is_timed, spec};
use crate::api::{PartitionPolicySpec, Reason};

/// Type, encoding, and whether the key tells the time.
const KEYS: &[(&str, &str)] = &[
    ("date", "Native"),
    ("timestamp without time zone", "Native"),
    ("timestamp with time zone", "Native"),
    ("integer", "EpochSeconds"),
    ("bigint", "EpochSeconds"),
    ("bigint", "EpochMilliseconds"),
    ("bigint", "EpochMicroseconds"),
    ("uuid", "Uuidv7"),
    ("text", "Ulid"),
    ("bigint", "Native"),
    ("integer", "Native"),
    ("smallint", "Native"),
];

/// An existing partition, relative to the slots around the present.
#[derive(Clone, Debug)]
struct Existing {
    slot: i32,
    slots: i32,
    /// By how much the bounds miss the grid.
    skew: (i64, i64),
    kind: char,
    pending: bool,
    holds_data: bool,
    name: Option<u8>,
}

fn existing() -> impl Strategy<Value = Existing> {
    let slot = prop_oneof![8 => -6..6_i32, 1 => 12..24_i32];
    let skew = prop_oneof![6 => Just((0, 0)), 1 => (-3_i64..=3, Just(0_i64)), 1 => (Just(0_i64), -3_i64..=3), 1 => (-3_i64..=3, -3_i64..=3)];
    let kind = prop_oneof![8 => Just('r'), 1 => Just('f')];
    (slot, 1..4_i32, skew, kind, prop::bool::weighted(0.1), any::<bool>(), prop::option::of(any::<u8>())).prop_map(
        |(slot, slots, skew, kind, pending, holds_data, name)| Existing { slot, slots, skew, kind, pending, holds_data, name },
    )
}

#[derive(Clone)]
struct Case {
    spec: PartitionPolicySpec,
    world: World,
    shuffle: Vec<Index>,
    stop: Index,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} at {}, stop {:?}", serde_json::to_string(&self.spec).unwrap(), self.world.now, self.stop)?;
        for parent in &self.world.tree.parents {
            writeln!(f, "{} {:?}", parent.table, parent.key)?;
            for p in &parent.partitions {
                writeln!(
                    f,
                    "  {} {} {} pending {} blocks {:?} bytes {:?}",
                    p.table.name, p.bound, p.kind, p.detach_pending, p.has_blocks, p.bytes
                )?;
            }
        }
        writeln!(f, "rows {:?}", self.world.default_rows)
    }
}

fn zones() -> Vec<String> {
    TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect()
}

fn create() -> impl Strategy<Value = Value> {
    let horizon = prop::option::of(select(vec!["36 hours", "20 days", "1 month", "45 days", "100 days"]));
    (0..5_i32, horizon, any::<bool>(), prop::option::weighted(0.3, -8..3_i32)).prop_map(
        |(ahead, horizon, fill_gaps, from)| json!({"ahead": ahead, "horizon": horizon, "fillGaps": fill_gaps, "fromSlot": from}),
    )
}

prop_compose! {
    fn case()(
        (type_name, encoding) in select(KEYS),
        unit in select(vec!["hour", "day", "week", "month", "quarter", "year"]),
        n in prop_oneof![4 => Just(1), 1 => 2..9_i32],
        step in select(vec!["1", "10", "1000", "7"]),
        zone in select(zones()),
        second in 1_600_000_000_i64..2_100_000_000,
        mut create in create(),
        default in select(vec!["Keep", "Ensure", "Forbid"]),
        default_bytes in prop::option::of(select(vec![0_i64, 8192, 1 << 30])),
        rows_in in prop::option::of(-3..6_i32),
        naming in any::<bool>(),
        template in any::<bool>(),
        children in 0..3_usize,
        existing in prop::collection::vec((0..3_usize, existing()), 0..6),
        shuffle in prop::collection::vec(any::<Index>(), 12),
        stop in any::<Index>(),
    ) -> Case {
        let is_step = encoding == "Native" && matches!(type_name, "bigint" | "integer" | "smallint");
        let unit = if type_name == "date" && unit == "hour" { "day" } else { unit };
        let interval = if is_step { step.to_owned() } else { format!("{n} {unit}") };
        let from = create["fromSlot"].take();
        create.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        if unit == "hour" && create.get("horizon").is_some() {
            create["horizon"] = json!("36 hours");
        }
        if is_step || (unit != "hour" && unit != "day" && n > 3) {
            create.as_object_mut().unwrap().remove("horizon");
        }
        let mut fields = json!({"key": {"column": "at", "encoding": encoding}, "timeZone": zone, "create": create, "defaultPartition": default});
        if naming {
            fields["naming"] = json!(if is_step { "p{lower}" } else { "p{yyyy}{mm}{dd}{hh}" });
        }
        if template {
            fields["template"] = json!({"owner": "boss", "storageParameters": [{"name": "fillfactor", "value": "70"}],
                "grants": [{"role": "reader", "privileges": ["Select"]}], "indexes": [{"name": "extra", "columns": ["at"]}]});
        }
        let mut world = World::new(type_name);
        world.now = Timestamp::from_second(second).unwrap();
        let mut spec = spec(&interval, fields);
        let mut parents = vec![ROOT];
        if children > 0 {
            parents = (0..children).map(|number| world.add_child(&format!("events_{number}"), type_name)).collect();
        }
        fill(&mut spec, &mut world, &parents, (from.as_i64(), existing, default_bytes, rows_in));
        Case { spec, world, shuffle, stop }
    }
}

type Contents = (Option<i64>, Vec<(usize, Existing)>, Option<i64>, Option<i32>);

fn grid_of(spec: &PartitionPolicySpec, world: &World) -> Grid {
    let column = &world.tree.parents.iter().flat_map(|parent| &parent.key).find(|column| column.name == "at").unwrap();
    calendar::read(spec, column).unwrap().grid
}

fn slot_after(grid: &Grid, slot: &Slot, count: i32) -> Option<Slot> {
    (0..count.abs()).try_fold(slot.clone(), |slot, _| if count < 0 { grid.prev(&slot) } else { grid.next(&slot) })
}

/// Puts partitions around the present of the grid, as far as PostgreSQL would allow them.
fn fill(spec: &mut PartitionPolicySpec, world: &mut World, parents: &[u32], (from, existing, default_bytes, rows): Contents) {
    let grid = grid_of(spec, world);
    let Some(present) = grid.slot_at(world.now).or_else(|| grid.slot_containing(grid.key().integer(0)?)) else { return };
    if let Some(slot) = from.and_then(|from| slot_after(&grid, &present, i32::try_from(from).unwrap())) {
        let text = if is_timed(spec) {
            grid.start(&slot).map(|at| at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string())
        } else {
            slot.lower().value().map(|value| value.get().to_string())
        };
        spec.create.from = text;
    }
    for (number, (parent, existing)) in existing.into_iter().enumerate() {
        let parent = parents[parent % parents.len()];
        let Some(range) = range_of(&grid, &present, &existing) else { continue };
        let siblings = &world.tree.parents.iter().find(|candidate| candidate.oid == parent).unwrap().partitions;
        let has_pending = siblings.iter().any(|sibling| sibling.detach_pending);
        if siblings.iter().any(|sibling| parse_bounds(&sibling.bound, grid.key()).is_ok_and(|held| held.overlaps(&range))) {
            continue;
        }
        let text = |bound: Bound| bound.value().map_or("MAXVALUE".to_owned(), |value| literal(&value, grid.key()));
        let lower = if range.lower() == Bound::MinValue { "MINVALUE".into() } else { text(range.lower()) };
        // Some have the very names that new ones would like to have.
        let name = existing.name.map_or(format!("old_{number}"), |number| format!("events_p{number}"));
        if world.names().contains(&name) {
            continue;
        }
        let oid = world.add(parent, &name, bounds(&lower, &text(range.upper())));
        let partition = world.partition(oid);
        partition.kind = existing.kind;
        partition.detach_pending = existing.pending && !has_pending;
        partition.has_blocks = Some(existing.holds_data);
    }
    if let Some(bytes) = default_bytes {
        let oid = world.add(parents[0], "events_rest", "DEFAULT".into());
        let default = world.partition(oid);
        (default.bytes, default.has_blocks) = (Some(bytes), Some(bytes > 0));
        default.leftover_guards = vec!["pgreeve_guard_1".into()];
        add_rows(world, &grid, &present, rows.filter(|_| bytes > 0));
    }
}

fn add_rows(world: &mut World, grid: &Grid, present: &Slot, rows: Option<i32>) {
    let Some(slot) = rows.and_then(|rows| slot_after(grid, present, rows)) else { return };
    if let (Bound::Value(lower), Bound::Value(upper)) = (slot.lower(), slot.upper()) {
        world.default_rows.push((literal(&lower, grid.key()), literal(&upper, grid.key()), 7));
    }
}

fn range_of(grid: &Grid, present: &Slot, existing: &Existing) -> Option<Range> {
    let first = slot_after(grid, present, existing.slot)?;
    let last = slot_after(grid, &first, existing.slots - 1)?;
    // A part of a slot, so that a skewed bound does not run over the next one.
    let unit = |slot: &Slot| -> Option<i128> { Some((slot.upper().value()?.get() - slot.lower().value()?.get()) / 8) };
    let skew = |bound: Bound, by: i64, unit: Option<i128>| -> Option<Bound> {
        if by == 0 {
            return Some(bound);
        }
        let moved = bound.value()?.get() + unit? * i128::from(by);
        grid.key().ordinal(moved).map(Bound::Value)
    };
    Range::new(skew(first.lower(), existing.skew.0, unit(&first))?, skew(last.upper(), existing.skew.1, unit(&last))?)
}

/// What a plan creates, without the names: names may depend on the order.
fn creations(plan: &Plan) -> BTreeSet<String> {
    let creates = plan.actions.iter().filter_map(|action| match action {
        Action::CreatePartition(create) => Some(format!("{} {} {}", create.parent.oid, create.lower, create.upper)),
        Action::CreateDefault(create) => Some(format!("{} default", create.parent.oid)),
        _ => None,
    });
    creates.collect()
}

/// The latest value that must have a place, by the spec's own words.
fn must_reach(spec: &PartitionPolicySpec, world: &World, grid: &Grid) -> Option<(Ordinal, Ordinal)> {
    let now = grid.ordinal_at(world.now)?;
    let ahead = slot_after(grid, &grid.slot_at(world.now)?, spec.create.ahead)?.lower().value()?;
    let zone = jiff::tz::TimeZone::get(&spec.time_zone).unwrap();
    let horizon = spec.create.horizon.and_then(|span| span.add_to(&world.now.to_zoned(zone)).ok());
    let horizon = horizon.and_then(|at| grid.ordinal_at(at.timestamp()));
    Some((now, horizon.unwrap_or(now).max(ahead).max(now)))
}

fn has_place(ranges: &[Range], value: Ordinal) -> bool {
    ranges.iter().any(|range| range.contains(value))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Applying panics where PostgreSQL would refuse: an overlap, a name that is taken, rows in the default partition.
    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_do(case in case()) {
        let Case { spec, mut world, .. } = case;
        let plan = world.plan(&spec);
        world.apply(&spec, &plan.actions);
        let after = world.plan(&spec);
        prop_assert_eq!(&after.actions, &vec![]);
        prop_assert_eq!(after.blocked.iter().map(|b| b.reason).collect::<Vec<_>>(), plan.blocked.iter().map(|b| b.reason).collect::<Vec<_>>());
    }

    #[test]
    fn a_run_that_breaks_off_leaves_the_rest_of_its_plan(case in case()) {
        let Case { spec, mut world, stop, .. } = case;
        let plan = world.plan(&spec);
        let done = stop.index(plan.actions.len() + 1);
        world.apply(&spec, &plan.actions[..done]);
        let rest = Plan { actions: plan.actions[done..].to_vec(), ..plan };
        prop_assert_eq!(creations(&world.plan(&spec)), creations(&rest));
    }

    #[test]
    fn the_order_of_catalog_rows_does_not_matter(case in case()) {
        let Case { spec, mut world, shuffle, .. } = case;
        let plan = world.plan(&spec);
        let coverage = world.coverage(&spec);
        for (at, index) in shuffle.iter().enumerate() {
            let parents = world.tree.parents.len();
            world.tree.parents.swap(at % parents, index.index(parents));
            for parent in &mut world.tree.parents {
                let count = parent.partitions.len();
                if count > 0 {
                    parent.partitions.swap(at % count, index.index(count));
                }
            }
        }
        let shuffled = world.plan(&spec);
        prop_assert_eq!(shuffled.fingerprint(), plan.fingerprint());
        prop_assert_eq!(shuffled, plan);
        prop_assert_eq!(world.coverage(&spec), coverage);
    }

    #[test]
    fn every_row_up_to_the_horizon_has_a_place_unless_the_plan_says_why_not(case in case(), probes in prop::collection::vec(0..=1_000_i64, 20)) {
        let Case { spec, mut world, .. } = case;
        let grid = grid_of(&spec, &world);
        let plan = world.plan(&spec);
        world.apply(&spec, &plan.actions);
        let Some((now, end)) = must_reach(&spec, &world, &grid) else { return Ok(()) };
        if plan.blocked.iter().any(|blocked| blocked.reason != Reason::DefaultForbidden) {
            return Ok(());
        }
        for parent in world.tree.parents.iter().filter(|parent| parent.key.iter().any(|key| key.name == "at")) {
            let ranges = world.ranges(&spec, parent.oid);
            for probe in &probes {
                let value = now.get() + (end.get() - now.get()) / 1_000 * i128::from(*probe);
                let value = grid.key().ordinal(value).unwrap();
                prop_assert!(has_place(&ranges, value), "{} has no place in {}: {:#?}", literal(&value, grid.key()), parent.table, plan);
            }
        }
        let coverage = world.coverage(&spec).unwrap();
        prop_assert!(!coverage.uncovered);
    }

    #[test]
    fn what_is_not_ours_is_never_touched(case in case()) {
        let Case { spec, world, .. } = case;
        let grid = grid_of(&spec, &world);
        for action in world.plan(&spec).actions {
            let Action::RepairPartition(repair) = action else { continue };
            let partition = world.tree.parents.iter().flat_map(|p| &p.partitions).find(|p| p.oid == repair.partition.oid).unwrap();
            prop_assert!(partition.kind == 'r' && !partition.detach_pending, "{:?}", partition);
            let range = parse_bounds(&partition.bound, grid.key()).unwrap();
            prop_assert!(grid.span_of(&range).is_some(), "{:?}", partition);
        }
    }

    #[test]
    fn the_present_comes_first_then_the_future_then_the_past(case in case()) {
        let Case { spec, world, .. } = case;
        let grid = grid_of(&spec, &world);
        let Some(now) = grid.ordinal_at(world.now) else { return Ok(()) };
        let urgency: Vec<u8> = world.plan(&spec).actions.iter().filter_map(|action| {
            let Action::CreatePartition(create) = action else { return None };
            let range = parse_bounds(&bounds(&create.lower, &create.upper), grid.key()).unwrap();
            Some(if range.contains(now) { 0 } else if range.lower() > Bound::Value(now) { 1 } else { 2 })
        }).collect();
        prop_assert!(urgency.is_sorted(), "{:?}", urgency);
    }

    #[test]
    fn the_next_due_time_is_the_first_moment_at_which_something_is_to_be_done(case in case(), part in 1..1_000_i64) {
        let Case { spec, mut world, .. } = case;
        let plan = world.plan(&spec);
        world.apply(&spec, &plan.actions);
        let (Some(due), true) = (world.plan(&spec).due, plan.blocked.is_empty()) else { return Ok(()) };
        prop_assert!(due > world.now);
        let wait = (due.as_second() - world.now.as_second()) * part / 1_000;
        let before = world.now.checked_add(SignedDuration::from_secs(wait)).unwrap();
        if before < due {
            world.now = before;
            prop_assert_eq!(creations(&world.plan(&spec)), BTreeSet::new());
        }
    }
}
