//! Tables: columns two spaces apart, and on a terminal no line longer than that.

use std::io::{self, Write};

/// A column is not made narrower than this.
const NARROWEST: usize = 12;

/// Writes the rows with aligned columns. Where they do not fit into `width`, the columns of
/// `may_shrink`, which hold paths or URLs, lose the middle of their longest texts.
pub fn write(rows: &[Vec<String>], may_shrink: &[usize], width: Option<usize>, out: &mut dyn Write) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let mut widths: Vec<usize> = (0..columns).map(|at| widest(at).unwrap_or(0)).collect();
    if let Some(width) = width {
        fit(&mut widths, may_shrink, width);
    }
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:width$}", shortened(cell, *width)));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Takes from the widest of the columns that may shrink until all of them fit, or none can be
/// narrower.
fn fit(widths: &mut [usize], may_shrink: &[usize], width: usize) {
    loop {
        let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let widest = may_shrink.iter().copied().filter(|at| *at < widths.len()).max_by_key(|at| widths[*at]);
        match widest {
            Some(at) if total > width && widths[at] > NARROWEST => widths[at] -= 1,
            _ => return,
        }
    }
}

/// The text with `…` in place of its middle. The end stays longer than the beginning: it tells
/// paths apart.
fn shortened(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let first = kept / 3;
    let beginning = text.chars().take(first);
    let end = text.chars().skip(count - (kept - first));
    beginning.chain(['…']).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(rows: &[&[&str]], width: Option<usize>) -> String {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        let mut out = Vec::new();
        write(&rows, &[0], width, &mut out).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn columns_are_aligned_and_paths_give_way_to_the_terminal() {
        let rows: &[&[&str]] = &[&["path", "status"], &["/var/lib/applications/tenants/app.db", "ok"]];
        assert_eq!(
            shown(rows, None),
            "path                                  status\n/var/lib/applications/tenants/app.db  ok\n"
        );
        assert_eq!(shown(rows, Some(30)), "path                    status\n/var/li…tenants/app.db  ok\n");
        assert!(shown(rows, Some(3)).lines().all(|line| line.chars().count() <= NARROWEST + 8));
        assert_eq!(shown(&[], Some(9)), "");
    }
}
