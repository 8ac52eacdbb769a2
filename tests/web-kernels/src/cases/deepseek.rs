//! Latent attention and drafts: the recordings that native tests have, small.

use super::{Case, Compare, Kind, SCORES, SUMS};
use aloud_ops::{DType, Elem, SampleResult, SamplerState, Step};
use aloud_tests::scenarios::drafts::{Lookup, Predict, Verify};
use aloud_tests::scenarios::mla::{Absorbed, Layer, ODD, Project, TINY};
use aloud_tests::scenarios::mla_expanded::Expanded;

pub fn cases() -> Vec<Case> {
    let floats =
        |name: &str, tolerance, kind| Case { name: name.to_owned(), tolerance, compare: Compare::Floats, kind };
    let exact = |name: &str, kind| Case { name: name.to_owned(), tolerance: 0.0, compare: Compare::Bytes, kind };
    let few = Layer { q_lora: Some(64), ..Layer::new(ODD, (9, 4, 3)) };
    let one = Layer { joint: false, dtype: DType::Q8_0, elem: Elem::F16, ..Layer::new(TINY, (150, 1, 1)) };
    let joint = Expanded::new([4, 128, 16, 64, 64], Elem::F16, DType::F8_B32, true, [31, 5, 3]);
    let split = Expanded::new(TINY, Elem::F32, DType::F32, false, [40, 20, 17]);
    let absorbed = |layer, attend| Kind::MlaAbsorbed(Absorbed { layer, attend });
    vec![
        floats("mla_project", SUMS, Kind::MlaProject(Project(few))),
        floats("mla_query F32", SUMS, absorbed(few, false)),
        floats("mla_query Q8_0, keys and values apart", SUMS, absorbed(one, false)),
        floats("mla_project, mla_query, mla_attention F32: a chunk", SCORES, absorbed(few, true)),
        floats("mla_project, mla_query, mla_attention Q8_0 with an f16 cache: a step", SCORES, absorbed(one, true)),
        floats("mla_expanded F8_B32 with an f16 cache", SCORES, Kind::MlaExpanded(joint)),
        floats("mla_expanded F32, keys and values apart", SCORES, Kind::MlaExpanded(split)),
        exact("draft_lookup", Kind::Lookup(lookup())),
        exact("draft_begin", Kind::Predict(predict(true))),
        exact("draft_pick", Kind::Predict(predict(false))),
        exact("penalize, sample: drafts verified", Kind::Verify(verify())),
    ]
}

fn lookup() -> Lookup {
    Lookup { history: [5, 1, 2, 3, 4, 9].repeat(50), n_drawn: 3, n_drafts: 4, left: 9 }
}

fn predict(begin: bool) -> Predict {
    Predict {
        main: Step { pos: 50, n_tokens: 2, n_generated: 8, thinking: 0 },
        own: Step { pos: 47, n_tokens: if begin { 1 } else { 3 }, ..Step::default() },
        result: SampleResult { n_drawn: 3, n_cached: 50, tokens: [4, 5, 6, 0, 0, 0, 0, 0], ..SampleResult::default() },
        max_tokens: 99,
        begin,
    }
}

/// Two right drafts, then wrong ones.
fn verify() -> Verify {
    let v = 257;
    let right = Verify::right(v, 4);
    let tokens = vec![7, right[0], right[1], (right[2] + 1) % v, right[3]];
    let state = SamplerState { max_tokens: 100, n_vocab: v, ..SamplerState::default() };
    Verify { v, tokens, state, step: Step { pos: 40, n_tokens: 5, n_generated: 16, thinking: 3 } }
}
