use aloud::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let files = ModelFiles::open(&a[1]).unwrap();
    let t = std::time::Instant::now();
    let dev = a.get(2).map_or(Choice::Best, |d| Choice::Named(d.clone()));
    let mut m = pollster::block_on(Model::load(files, &LoadOptions { device: dev, ..Default::default() }, |_| {})).unwrap();
    println!("loaded {:?} {:?} {:?}", t.elapsed(), m.gpu().adapter.name, m.resident());
    let q = [Message::new(Role::User, "What is the capital of France?")];
    let c0 = m.gpu().counters();
    let e = pollster::block_on(m.chat(&q, &ChatOptions { max_tokens: Some(24), ..Default::default() }, |e| { println!("{e:?}"); std::ops::ControlFlow::Continue(()) })).unwrap();
    println!("{e:?}\n{:?}", m.gpu().counters() - c0);
    let ids: Vec<u32> = (0..128).map(|i| (i * 7919 + 11) % 49000 + 20).collect();
    for n in [16usize, 50, 128] { let b = pollster::block_on(m.bench(&ids[..n], 16)).unwrap(); println!("pp{n}: {:.1} tok/s, tg: {:.2} tok/s", n as f64 / b.prefill_ms * 1e3, 15.0 / b.decode_ms * 1e3); }
    println!("{:?}", m.decode_figures(64));
}
