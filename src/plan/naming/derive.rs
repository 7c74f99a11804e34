//! Which template gives these names? Read off the newest partitions, and tried on them.

use super::Template;
use super::label::{Field, Label};
use crate::api::table::TableName;
use crate::plan::grid::{Grid, Slot};

/// The orders in which names show their time, the most telling first.
const ORDERS: [&[(Field, &str)]; 9] = {
    use Field::{Day, Hour, IsoWeek, IsoYear, Lower, Month, Quarter, Upper, Year};
    [
        &[(Year, "{yyyy}"), (Month, "{mm}"), (Day, "{dd}"), (Hour, "{hh}")],
        &[(Year, "{yyyy}"), (Month, "{mm}"), (Day, "{dd}")],
        &[(IsoYear, "{iyyy}"), (IsoWeek, "{ww}")],
        &[(Year, "{yyyy}"), (Month, "{mm}")],
        &[(Year, "{yyyy}"), (Quarter, "{q}")],
        &[(Year, "{yyyy}")],
        &[(Lower, "{lower}"), (Upper, "{upper}")],
        &[(Lower, "{lower}")],
        &[(Upper, "{upper}")],
    ]
};

/// The template that gives every one of these slots its name; the first slot is the one it is read off.
pub fn derive(slots: &[(Slot, String)], grid: &Grid, table: &TableName) -> Option<String> {
    let (slot, name) = slots.first()?;
    let label = Label::new(slot, grid);
    let fits = |text: &String| {
        let template = Template::parse(Some(text), grid).ok();
        template.is_some_and(|template| slots.iter().all(|(slot, name)| template.name(slot, grid, table) == *name))
    };
    ORDERS.iter().filter_map(|order| template(name, &table.name, &label, order)).find(fits)
}

fn template(name: &str, table: &str, label: &Label, order: &[(Field, &str)]) -> Option<String> {
    let (before, mut rest) = name.split_once(table).map_or(("", name), |(before, rest)| (before, rest));
    let mut text = if rest.len() < name.len() { format!("{before}{{table}}") } else { String::new() };
    for (field, placeholder) in order {
        let (literal, after) = rest.split_once(&label.show(*field))?;
        text.push_str(literal);
        text.push_str(placeholder);
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}
