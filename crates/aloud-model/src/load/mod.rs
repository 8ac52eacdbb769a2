//! Tensors of a file to weights of an executor, in slices: no tensor is ever whole in memory.

mod layer;
mod pieces;

use crate::config::Config;
use crate::error::ModelError;
use crate::names::{self, Container};
use crate::rope::rope_table;
use crate::tensors::{mtp_layer, weight_bytes};
use aloud_format::{ByteSource, TensorInfo, TensorSet, dequantize};
use aloud_ops::{Elem, Executor, KvUp, Tensor};
use pieces::Piece;

/// How far loading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of tensors loaded.
    pub loaded_bytes: u64,
    /// Bytes of tensors that the model needs.
    pub total_bytes: u64,
}

/// The weights of one decoder layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// `[D]`.
    pub attn_norm: Tensor,
    /// What attention has.
    pub attention: AttentionWeights,
    /// `[D]`.
    pub ffn_norm: Tensor,
    /// What follows it.
    pub feed_forward: FeedForward,
}

/// The weights of a layer's attention.
#[derive(Clone, Debug)]
pub enum AttentionWeights {
    /// Grouped-query attention.
    Grouped {
        /// The rows of `q_proj`, `k_proj` and `v_proj`: one weight if their formats agree.
        qkv: Vec<Tensor>,
        /// Biases of q, k and v, `[(H + 2K)*C]`, if the family has them.
        qkv_bias: Option<Tensor>,
        /// Norms of each head of q and k, `[2, C]`, if the family has them.
        qk_norm: Option<Tensor>,
        /// `[D, H*C]`.
        o: Tensor,
    },
    /// Multi-head latent attention.
    Latent {
        /// The rows of `q_a_proj` (or `q_proj`), then those of `kv_a_proj_with_mqa`: one weight if their formats agree.
        a: Vec<Tensor>,
        /// `q_a_layernorm` and `q_b_proj`, if queries are made of a latent.
        q: Option<[Tensor; 2]>,
        /// `[R]`.
        kv_a_norm: Tensor,
        /// What makes keys and values of the latent.
        kv_b: KvUp,
        /// `[D, H*Vh]`.
        o: Tensor,
    },
}

/// The weights of one feed-forward block.
#[derive(Clone, Copy, Debug)]
pub struct Dense {
    /// `[F, D]`.
    pub gate: Tensor,
    /// `[F, D]`.
    pub up: Tensor,
    /// `[D, F]`.
    pub down: Tensor,
}

/// What follows attention in a layer.
#[derive(Clone, Copy, Debug)]
pub enum FeedForward {
    /// One block for all tokens.
    Dense(Dense),
    /// Experts.
    Experts {
        /// `[E, D]`.
        router: Tensor,
        /// `[E]`, takes part in the choice only.
        bias: Option<Tensor>,
        /// `[E', I, D]`: the routed experts, then the shared ones unless those stand apart.
        gate: Tensor,
        /// `[E', I, D]`.
        up: Tensor,
        /// `[E', D, I]`.
        down: Tensor,
        /// The shared experts as one block, if they cannot be part of the stacks: the formats differ, or a block of
        /// values spans two of them.
        shared: Option<Dense>,
    },
}

/// The layer that predicts the token after the next (DeepSeek-V3, section 2.2). Embedding and head are the model's.
#[derive(Clone, Debug)]
pub struct NextToken {
    /// `[D]`, of the next token's embedding.
    pub embed_norm: Tensor,
    /// `[D]`, of the hidden state.
    pub hidden_norm: Tensor,
    /// `[D, 2D]`: of embedding and hidden state side by side.
    pub proj: Tensor,
    /// A decoder layer with its own cache.
    pub layer: Layer,
    /// `[D]`, before the head.
    pub norm: Tensor,
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
    /// Multi-token prediction, if the file has it.
    pub next_token: Option<NextToken>,
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
    let room = allocate(executor, config, tensors, n_positions)?;
    let weights = room.weights.clone();
    room.fill(executor, config, tensors, sources, on_progress).await?;
    Ok(weights)
}

/// Room for the weights of a model, and what is to fill it.
pub struct Room {
    /// The weights; recordings of them can be compiled before they are filled.
    pub weights: Weights,
    jobs: Vec<Job>,
    total_bytes: u64,
}

/// What fills a weight or state.
enum Job {
    Weight {
        weight: Tensor,
        pieces: Vec<Piece>,
    },
    /// f32 whatever the file has: these tensors, one after the other.
    Floats {
        state: Tensor,
        names: Vec<String>,
    },
    /// The table of rotary angles for so many positions.
    Rope {
        state: Tensor,
        n_positions: u32,
    },
}

impl Job {
    /// The file that it reads first, and where; what reads none comes last.
    fn place(&self, tensors: &TensorSet) -> (usize, u64) {
        let of = |name: &String| {
            let info = info(tensors, name);
            (info.file, info.offset)
        };
        let first = match self {
            Job::Weight { pieces, .. } => pieces.iter().map(|piece| of(&piece.name)).min(),
            Job::Floats { names, .. } => names.iter().map(of).min(),
            Job::Rope { .. } => None,
        };
        first.unwrap_or((usize::MAX, 0))
    }
}

/// Makes room for the weights of `config` for contexts of up to `n_positions`.
///
/// # Errors
/// If a tensor is missing or of another shape than the config says, or does not fit the executor.
pub fn allocate<E: Executor>(
    executor: &mut E,
    config: &Config,
    tensors: &TensorSet,
    n_positions: u32,
) -> Result<Room, ModelError> {
    // First a round that only checks: nothing is allocated for a model that does not fit together.
    let total_bytes = weight_bytes(config, tensors)?;
    let mut allocator = Allocator { executor, config, tensors, jobs: Vec::new() };
    allocator.check_routers()?;
    let weights = allocator.weights(n_positions)?;
    Ok(Room { weights, jobs: allocator.jobs, total_bytes })
}

impl Room {
    /// Fills the room on the executor that it was made on.
    ///
    /// # Errors
    /// If a tensor cannot be read, or the executor fails.
    pub async fn fill<E: Executor, S: ByteSource>(
        self,
        executor: &mut E,
        config: &Config,
        tensors: &TensorSet,
        sources: &[S],
        on_progress: impl FnMut(Progress),
    ) -> Result<(), ModelError> {
        let total = self.total_bytes;
        let mut jobs = self.jobs;
        // In the order of the file, which may still be coming: names of layers are often sorted as words, 1, 10, 11, 2.
        jobs.sort_by_cached_key(|job| job.place(tensors));
        let (progress, loaded, spare) = (on_progress, 0, Vec::new());
        let mut filler = Filler { executor, config, tensors, sources, progress, loaded, total, spare };
        for job in jobs {
            match job {
                Job::Weight { weight, pieces } => filler.weight(weight, &pieces).await?,
                Job::Floats { state, names } => filler.vectors(state, &names).await?,
                Job::Rope { state, n_positions } => filler.rope(state, n_positions).await?,
            }
        }
        Ok(())
    }
}

struct Allocator<'a, E> {
    executor: &'a mut E,
    config: &'a Config,
    tensors: &'a TensorSet,
    jobs: Vec<Job>,
}

fn info<'a>(tensors: &'a TensorSet, name: &str) -> &'a TensorInfo {
    tensors.get(name).expect("weight_bytes() found every tensor")
}

impl<E: Executor> Allocator<'_, E> {
    fn weights(&mut self, n_positions: u32) -> Result<Weights, ModelError> {
        let at = self.config.container;
        let embed = self.matrix(&at.global(names::EMBED))?;
        let mut layers = Vec::new();
        for i in 0..self.config.num_hidden_layers {
            layers.push(self.layer(i)?);
        }
        let norm = self.vector(&at.global(names::NORM))?;
        let head = if self.config.tie_word_embeddings { embed } else { self.matrix(&at.global(names::HEAD))? };
        let next_token = match mtp_layer(self.config, self.tensors) {
            Some(i) => Some(self.next_token(i)?),
            None => None,
        };
        let rope = self.state("rope", &[n_positions, self.config.head_dim])?;
        self.jobs.push(Job::Rope { state: rope, n_positions });
        Ok(Weights { embed, layers, norm, head, rope, next_token })
    }

    fn next_token(&mut self, i: u32) -> Result<NextToken, ModelError> {
        let weight = |name| self.config.container.layer(i, name, "weight");
        let [embed_norm, hidden_norm, proj, norm] =
            [names::MTP_EMBED_NORM, names::MTP_HIDDEN_NORM, names::MTP_PROJ, names::MTP_NORM].map(weight);
        Ok(NextToken {
            embed_norm: self.vector(&embed_norm)?,
            hidden_norm: self.vector(&hidden_norm)?,
            proj: self.matrix(&proj)?,
            layer: self.layer(i)?,
            norm: self.vector(&norm)?,
        })
    }

    fn info(&self, name: &str) -> &TensorInfo {
        info(self.tensors, name)
    }

    /// A norm or a bias.
    fn vector(&mut self, name: &str) -> Result<Tensor, ModelError> {
        self.vectors(&[name.to_owned()])
    }

    /// Norms or biases, one after the other.
    fn vectors(&mut self, names: &[String]) -> Result<Tensor, ModelError> {
        let n = names.iter().map(|name| self.info(name).n_elems() as u32).sum();
        let state = self.state(&names[0], &[n])?;
        self.jobs.push(Job::Floats { state, names: names.to_vec() });
        Ok(state)
    }

    fn state(&mut self, name: &str, shape: &[u32]) -> Result<Tensor, ModelError> {
        self.executor.create_state(name, Elem::F32, shape).map_err(ModelError::executor)
    }
}

struct Filler<'a, E, S, P> {
    executor: &'a mut E,
    config: &'a Config,
    tensors: &'a TensorSet,
    sources: &'a [S],
    progress: P,
    loaded: u64,
    total: u64,
    /// What the last slice was read into: fresh memory would cost more than the reading.
    spare: Vec<u8>,
}

impl<E: Executor, S: ByteSource, P: FnMut(Progress)> Filler<'_, E, S, P> {
    fn info(&self, name: &str) -> &TensorInfo {
        info(self.tensors, name)
    }

    async fn read(&mut self, name: &str, offset: u64, len: u64) -> Result<Vec<u8>, ModelError> {
        let info = self.info(name);
        let (file, at) = (info.file, info.offset + offset);
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.resize(len as usize, 0);
        self.sources[file].read_at(at, &mut bytes).await?;
        self.loaded += len;
        (self.progress)(Progress { loaded_bytes: self.loaded.min(self.total), total_bytes: self.total });
        Ok(bytes)
    }

    async fn floats(&mut self, name: &str) -> Result<Vec<f32>, ModelError> {
        let info = self.info(name);
        let (dtype, n, len) = (info.dtype, info.n_elems(), info.n_bytes);
        let mut values = vec![0.0; n as usize];
        let bytes = self.read(name, 0, len).await?;
        dequantize(dtype, &bytes, &mut values)?;
        self.spare = bytes;
        Ok(values)
    }

    async fn vectors(&mut self, state: Tensor, names: &[String]) -> Result<(), ModelError> {
        let mut values = Vec::new();
        for name in names {
            values.extend(self.floats(name).await?);
        }
        self.write(state, &values);
        Ok(())
    }

    fn write(&mut self, state: Tensor, values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.executor.write_state(state, 0, &bytes);
    }

    async fn rope(&mut self, state: Tensor, n_positions: u32) -> Result<(), ModelError> {
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
        self.write(state, &table);
        Ok(())
    }
}
