//! The page of `adflow compare`: which method ranks best, how sure that is, and what it costs.

use std::fmt::Write;

use super::{charts, document, escape, figure};
use crate::comparison::{Comparison, Spread};
use crate::progress::{self, short};

/// The whole page; each method links to its own page beside it.
pub fn page(c: &Comparison) -> String {
    let name = c.data.file_name().map_or_else(|| c.data.display().to_string(), |n| n.to_string_lossy().into_owned());
    let seeds: Vec<String> = c.seeds.iter().map(u64::to_string).collect();
    let mut body = format!(
        "<header>\n<p>adflow comparison &middot; {} &middot; {}</p>\n<h1>{}</h1>\n</header>\n",
        escape(&c.data.display().to_string()),
        escape(&c.backbone),
        escape(&headline(c))
    );
    let bars: Vec<(&str, f64, Option<[f64; 2]>)> = c
        .methods
        .iter()
        .filter_map(|row| row.image_auroc.map(|a| (row.method.as_str(), a.mean, row.image_auroc_interval)))
        .collect();
    if !bars.is_empty() {
        let _ = writeln!(
            body,
            "<h2>Image AUROC</h2>\n<p class=\"words\">With 95 % intervals over the choice of test images.</p>\n\
             <div class=\"panel\">\n{}</div>",
            charts::intervals(&bars)
        );
    }
    body += &methods(c);
    body += &classes(c);
    let _ = write!(
        body,
        "<h2>How it was measured</h2>\n<div class=\"scroll\"><table class=\"facts\">\n\
         <tr><td>test images</td><td>{} good, {} defective</td></tr>\n<tr><td>seeds</td><td>{}; figures are means over \
         them, ± their standard deviation</td></tr>\n<tr><td>interval</td><td>bootstrap over images of the mean, 1000 \
         draws</td></tr>\n<tr><td>time per image</td><td>decoded camera buffer to verdict, one image at a time, after \
         warm-up, median; {}, {} threads</td></tr>\n<tr><td>training</td><td>without reading the images, which is done \
         once for all</td></tr>\n<tr><td>adflow</td><td>{}</td></tr>\n</table></div>\n",
        c.images.good,
        c.images.defective,
        seeds.join(", "),
        escape(&c.device),
        c.threads,
        adflow::VERSION
    );
    document(&format!("adflow comparison: {name}"), &body)
}

fn headline(c: &Comparison) -> String {
    let ranked = c.methods.iter().filter_map(|row| row.image_auroc.map(|a| (row, a.mean)));
    let Some((best, auroc)) = ranked.max_by(|a, b| a.1.total_cmp(&b.1)) else {
        return "No method could be ranked".into();
    };
    let low = best.image_auroc_interval.map_or(auroc, |[low, _]| low);
    let close: Vec<&str> = c
        .methods
        .iter()
        .filter(|row| row.method != best.method && row.image_auroc.is_some_and(|a| a.mean >= low))
        .map(|row| row.method.as_str())
        .collect();
    let beside =
        if close.is_empty() { String::new() } else { format!("; inside its interval as well: {}", close.join(", ")) };
    format!("{} ranks best, AUROC {auroc:.3}{beside}", best.method)
}

fn spread(x: Option<Spread>) -> String {
    let sd = x.and_then(|x| x.sd).map_or(String::new(), |sd| format!(" ± {sd:.3}"));
    figure(x.map(|x| x.mean)) + &sd
}

fn methods(c: &Comparison) -> String {
    let mut html = String::from(
        "<h2>Methods</h2>\n<div class=\"scroll\"><table>\n<tr><th>method</th><th>image AUROC</th><th>95 % interval</th>\
         <th>AP</th><th>F1-max</th><th>pixel AUROC</th><th>AUPRO</th><th>ms per image</th><th>model</th>\
         <th>training</th></tr>\n",
    );
    for row in &c.methods {
        if let Some(error) = &row.error {
            let _ = writeln!(html, "<tr><td>{}</td><td colspan=\"9\">failed: {}</td></tr>", row.method, escape(error));
            continue;
        }
        let _ = writeln!(
            html,
            "<tr><td><a href=\"{0}.html\">{0}</a></td><td>{1}</td><td>{2}</td><td>{3}</td><td>{4}</td><td>{5}</td>\
             <td>{6}</td><td>{7}</td><td>{8}</td><td>{9}</td></tr>",
            row.method,
            spread(row.image_auroc),
            row.image_auroc_interval.map_or("–".into(), |[a, b]| format!("{a:.3} to {b:.3}")),
            spread(row.image_ap),
            spread(row.f1_max),
            spread(row.pixel_auroc),
            spread(row.aupro),
            row.ms_per_image.map_or("–".into(), |x| short(x.mean)),
            row.model_bytes.map_or("–".into(), progress::bytes),
            row.train_seconds.map_or("–".into(), |x| progress::seconds(x.mean))
        );
    }
    html + "</table></div>\n"
}

/// Image AUROC of each kind of defect, a column a method.
fn classes(c: &Comparison) -> String {
    let measured: Vec<_> = c.methods.iter().filter(|row| row.error.is_none()).collect();
    let Some(first) = measured.first() else { return String::new() };
    let mut html = String::from(
        "<h2>Classes</h2>\n<p class=\"words\">Image AUROC of each kind of defect against all good parts.</p>\n\
         <div class=\"scroll\"><table>\n<tr><th>class</th><th>images</th>",
    );
    measured.iter().for_each(|row| html += &format!("<th>{}</th>", row.method));
    html += "</tr>\n";
    for (name, class) in first.classes.iter().filter(|(_, class)| class.image_auroc.is_some()) {
        let _ = write!(html, "<tr><td>{}</td><td>{}</td>", escape(name), class.images);
        for row in &measured {
            let _ = write!(html, "<td>{}</td>", spread(row.classes.get(name).and_then(|class| class.image_auroc)));
        }
        html += "</tr>\n";
    }
    html + "</table></div>\n"
}
