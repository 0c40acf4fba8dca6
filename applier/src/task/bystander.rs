//! What on the target would change rows by itself: triggers fire for rows that are replayed, events run on their own. The source
//! has logged what its own did, so on the target none may act while a task runs.

use crate::config::Selection;
use crate::error::{Error, Side};
use crate::literal::quote_name;
use crate::schema::folds_names;
use crate::target::Target;

/// Names in an error at most.
const MOST: usize = 10;

/// Refuses a target on which triggers of selected tables, or enabled events of selected databases, would act. One that keeps names in
/// lower case has what is selected by other names in lower case.
pub(super) async fn refuse(target: &mut Target, selection: &Selection) -> Result<(), Error> {
    let doing = "looking for triggers and events";
    let fail = |cause| Error::server(Side::Target, doing, cause);
    let selection = match folds_names(target.conn(), Side::Target).await? {
        false => selection.clone(),
        true => selection.folded(),
    };
    let triggers: Vec<(String, String, String)> = target
        .conn()
        .query(
            "SELECT CAST(event_object_schema AS CHAR), CAST(event_object_table AS CHAR), CAST(trigger_name AS CHAR) \
             FROM information_schema.triggers ORDER BY 1, 2, 3",
        )
        .await
        .map_err(fail)?;
    let events: Vec<(String, String)> = target
        .conn()
        .query(
            "SELECT CAST(event_schema AS CHAR), CAST(event_name AS CHAR) FROM information_schema.events \
             WHERE status = 'ENABLED' ORDER BY 1, 2",
        )
        .await
        .map_err(fail)?;
    let name = |database: &str, name: &str| format!("{}.{}", quote_name(database), quote_name(name));
    let triggers = triggers
        .iter()
        .filter(|(database, table, _)| selection.table(database, table))
        .map(|(database, table, trigger)| {
            format!("trigger {} on {}", name(database, trigger), name(database, table))
        });
    let events = events
        .iter()
        .filter(|(database, _)| selection.database(database))
        .map(|(database, event)| format!("event {}", name(database, event)));
    let mut found: Vec<String> = triggers.chain(events).collect();
    if found.is_empty() {
        return Ok(());
    }
    let more = match found.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    found.truncate(MOST);
    Err(Error::Unsuitable {
        side: Side::Target,
        what: format!(
            "{}{more} would change rows that the source has changed already: drop the triggers and disable the events there (ALTER \
             EVENT … DISABLE), and create or enable them once applications write to the target",
            found.join(", ")
        ),
    })
}
