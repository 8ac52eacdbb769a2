//! Work beside the rest, on a thread of its own where there are threads; in a browser it begins when it is waited for.
//!
//! The only place of this crate that knows of threads.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use threads::Aside;
#[cfg(target_arch = "wasm32")]
pub(crate) use turns::Aside;

#[cfg(not(target_arch = "wasm32"))]
mod threads {
    use std::future::Future;
    use std::thread::JoinHandle;

    /// A result to come.
    pub(crate) struct Aside<T>(Option<JoinHandle<T>>);

    impl<T: Send + 'static> Aside<T> {
        pub fn begin<F: Future<Output = T>>(work: impl FnOnce() -> F + Send + 'static) -> Self {
            Aside(Some(std::thread::spawn(|| pollster::block_on(work()))))
        }

        /// Whether waiting for it takes no time.
        pub fn is_there(&self) -> bool {
            self.0.as_ref().is_some_and(JoinHandle::is_finished)
        }

        /// Waits for it.
        pub async fn join(mut self) -> T {
            let thread = self.0.take().expect("it is taken once");
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }
    }

    impl<T> Drop for Aside<T> {
        /// Waits as well: a program that ends while a thread of it is inside a driver may crash.
        fn drop(&mut self) {
            if let Some(thread) = self.0.take() {
                // Nobody wants the result, and a panic was told of on stderr.
                let _ = thread.join();
            }
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod turns {
    use std::future::Future;
    use std::pin::Pin;

    /// A result to come.
    pub(crate) struct Aside<T>(Pin<Box<dyn Future<Output = T>>>);

    impl<T> Aside<T> {
        pub fn begin<F: Future<Output = T>>(work: impl FnOnce() -> F + 'static) -> Self {
            Aside(Box::pin(async { work().await }))
        }

        /// Whether waiting for it takes no time that another turn would save.
        pub fn is_there(&self) -> bool {
            true
        }

        /// Does it.
        pub async fn join(self) -> T {
            self.0.await
        }
    }
}
