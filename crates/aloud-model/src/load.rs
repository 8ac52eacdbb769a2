//! Tensors of a file to weights of an executor, in slices: no tensor is ever whole in memory.

use crate::config::Config;
use crate::error::ModelError;
use crate::names::{self, Container};
use crate::rope::rope_table;
use aloud_format::{ByteSource, FormatError, TensorInfo, TensorSet, dequantize};
use aloud_ops::{Elem, Executor, Tensor};

/// Bytes read at once; a power of two times a row at most.
const SLICE_BYTES: u64 = 4 << 20;

/// How far loading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of tensors loaded.
    pub loaded_bytes: u64,
    /// Bytes of tensors that the model needs.
    pub total_bytes: u64,
}

/// The weights of one decoder layer.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// `[D]`.
    pub attn_norm: Tensor,
    /// `[H*C, D]`.
    pub q: Tensor,
    /// `[K*C, D]`.
    pub k: Tensor,
    /// `[K*C, D]`.
    pub v: Tensor,
    /// `[D, H*C]`.
    pub o: Tensor,
    /// Biases of q, k and v, if the family has them.
    pub qkv_bias: Option<[Tensor; 3]>,
    /// Norms of each head of q and k, `[C]`, if the family has them.
    pub qk_norm: Option<[Tensor; 2]>,
    /// `[D]`.
    pub ffn_norm: Tensor,
    /// `[F, D]`.
    pub gate: Tensor,
    /// `[F, D]`.
    pub up: Tensor,
    /// `[D, F]`.
    pub down: Tensor,
}

/// The weights of a model on an executor.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `[V, D]`.
    pub embed: Tensor,
    /// The decoder layers.
    pub layers: Vec<Layer>,
    /// `[D]`.
    pub norm: Tensor,
    /// `[V, D]`; the embedding itself if the two are tied.
    pub head: Tensor,
    /// `[n_positions, C]`, see [`rope_table`].
    pub rope: Tensor,
}

/// Loads the weights of `config` from `sources`, which `tensors` point into, for contexts of up to `n_positions`.
///
/// # Errors
/// If a tensor is missing or of another shape than the config says, cannot be read, or does not fit the executor.
pub async fn load<E: Executor, S: ByteSource>(
    executor: &mut E,
    config: &Config,
    tensors: &TensorSet,
    sources: &[S],
    n_positions: u32,
    on_progress: impl FnMut(Progress),
) -> Result<Weights, ModelError> {
    let mut loader = Loader { executor, config, tensors, sources, progress: on_progress, loaded: 0, total: 0 };
    // First a round that only checks: nothing is allocated for a model that does not fit together.
    loader.total = weight_bytes(loader.config, loader.tensors)?;
    loader.weights(n_positions).await
}

struct Loader<'a, E, S, P> {
    executor: &'a mut E,
    config: &'a Config,
    tensors: &'a TensorSet,
    sources: &'a [S],
    progress: P,
    loaded: u64,
    total: u64,
}

/// Name and shape of every tensor that `config` asks for.
fn wanted(config: &Config) -> Vec<(String, Vec<u64>)> {
    let at = config.container;
    let [d, f, v, c] =
        [config.hidden_size, config.intermediate_size, config.vocab_size, config.head_dim].map(u64::from);
    let (h, k) = (u64::from(config.num_attention_heads) * c, u64::from(config.num_key_value_heads) * c);
    let mut all = vec![(at.global(names::EMBED), vec![v, d]), (at.global(names::NORM), vec![d])];
    if !config.tie_word_embeddings {
        all.push((at.global(names::HEAD), vec![v, d]));
    }
    for i in 0..config.num_hidden_layers {
        let weight = |name| at.layer(i, name, "weight");
        all.extend([
            (weight(names::ATTN_NORM), vec![d]),
            (weight(names::Q), vec![h, d]),
            (weight(names::K), vec![k, d]),
            (weight(names::V), vec![k, d]),
            (weight(names::O), vec![d, h]),
            (weight(names::FFN_NORM), vec![d]),
            (weight(names::GATE), vec![f, d]),
            (weight(names::UP), vec![f, d]),
            (weight(names::DOWN), vec![d, f]),
        ]);
        if config.architecture.qkv_bias {
            all.extend([(names::Q, h), (names::K, k), (names::V, k)].map(|(n, w)| (at.layer(i, n, "bias"), vec![w])));
        }
        if config.architecture.qk_norm {
            all.extend([names::Q_NORM, names::K_NORM].map(|n| (weight(n), vec![c])));
        }
    }
    all
}

/// Bytes of all tensors that `config` asks for, each there with the right shape.
pub(crate) fn weight_bytes(config: &Config, tensors: &TensorSet) -> Result<u64, FormatError> {
    wanted(config).iter().map(|(name, shape)| Ok(tensors.expect(name, shape)?.n_bytes)).sum()
}

impl<E: Executor, S: ByteSource, P: FnMut(Progress)> Loader<'_, E, S, P> {
    async fn weights(&mut self, n_positions: u32) -> Result<Weights, ModelError> {
        let at = self.config.container;
        let embed = self.matrix(&at.global(names::EMBED)).await?;
        let mut layers = Vec::new();
        for i in 0..self.config.num_hidden_layers {
            layers.push(self.layer(i).await?);
        }
        let norm = self.vector(&at.global(names::NORM)).await?;
        let head = if self.config.tie_word_embeddings { embed } else { self.matrix(&at.global(names::HEAD)).await? };
        let rope = self.rope(n_positions).await?;
        Ok(Weights { embed, layers, norm, head, rope })
    }

    async fn layer(&mut self, i: u32) -> Result<Layer, ModelError> {
        let at = self.config.container;
        let weight = |name| at.layer(i, name, "weight");
        let bias = |name| at.layer(i, name, "bias");
        Ok(Layer {
            attn_norm: self.vector(&weight(names::ATTN_NORM)).await?,
            q: self.matrix(&weight(names::Q)).await?,
            k: self.matrix(&weight(names::K)).await?,
            v: self.matrix(&weight(names::V)).await?,
            o: self.matrix(&weight(names::O)).await?,
            qkv_bias: match self.config.architecture.qkv_bias {
                true => Some([
                    self.vector(&bias(names::Q)).await?,
                    self.vector(&bias(names::K)).await?,
                    self.vector(&bias(names::V)).await?,
                ]),
                false => None,
            },
            qk_norm: match self.config.architecture.qk_norm {
                true => Some([self.vector(&weight(names::Q_NORM)).await?, self.vector(&weight(names::K_NORM)).await?]),
                false => None,
            },
            ffn_norm: self.vector(&weight(names::FFN_NORM)).await?,
            gate: self.matrix(&weight(names::GATE)).await?,
            up: self.matrix(&weight(names::UP)).await?,
            down: self.matrix(&weight(names::DOWN)).await?,
        })
    }

    fn info(&self, name: &str) -> &TensorInfo {
        self.tensors.get(name).expect("weight_bytes() found every tensor")
    }

    async fn read(&mut self, name: &str, offset: u64, len: u64) -> Result<Vec<u8>, ModelError> {
        let info = self.info(name);
        let (file, at) = (info.file, info.offset + offset);
        let mut bytes = vec![0; len as usize];
        self.sources[file].read_at(at, &mut bytes).await?;
        self.loaded += len;
        (self.progress)(Progress { loaded_bytes: self.loaded.min(self.total), total_bytes: self.total });
        Ok(bytes)
    }

    /// A weight that keeps its format, copied in slices of whole rows.
    async fn matrix(&mut self, name: &str) -> Result<Tensor, ModelError> {
        let info = self.info(name);
        let (dtype, rows, row_bytes) = (info.dtype, info.shape[0], info.n_bytes / info.shape[0]);
        let cols = info.shape[1] as u32;
        let weight = self.executor.create_weight(name, dtype, &[rows as u32, cols]).map_err(ModelError::executor)?;
        // An even number of rows, so that pairs of blocks stay together.
        let step = (SLICE_BYTES / row_bytes).max(2) & !1;
        let mut row = 0;
        while row < rows {
            let n = step.min(rows - row);
            let bytes = self.read(name, row * row_bytes, n * row_bytes).await?;
            self.executor.write_weight(weight, row as u32, &bytes).map_err(ModelError::executor)?;
            row += n;
        }
        Ok(weight)
    }

    async fn floats(&mut self, name: &str) -> Result<Vec<f32>, ModelError> {
        let info = self.info(name);
        let (dtype, n, len) = (info.dtype, info.n_elems(), info.n_bytes);
        let mut values = vec![0.0; n as usize];
        dequantize(dtype, &self.read(name, 0, len).await?, &mut values)?;
        Ok(values)
    }

    /// A norm or a bias: f32 whatever the file has.
    async fn vector(&mut self, name: &str) -> Result<Tensor, ModelError> {
        let values = self.floats(name).await?;
        self.state(name, &[values.len() as u32], &values)
    }

    fn state(&mut self, name: &str, shape: &[u32], values: &[f32]) -> Result<Tensor, ModelError> {
        let state = self.executor.create_state(name, Elem::F32, shape).map_err(ModelError::executor)?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.executor.write_state(state, 0, &bytes);
        Ok(state)
    }

    async fn rope(&mut self, n_positions: u32) -> Result<Tensor, ModelError> {
        let name = Container::Gguf.global(names::ROPE_FREQS);
        let pairs = u64::from(self.config.head_dim / 2);
        let divisors = match self.tensors.get(&name) {
            Some(_) if self.config.container == Container::Gguf => {
                self.tensors.expect(&name, &[pairs])?;
                Some(self.floats(&name).await?)
            }
            _ => None,
        };
        let table = rope_table(self.config, divisors.as_deref(), n_positions);
        self.state("rope", &[n_positions, self.config.head_dim], &table)
    }
}
