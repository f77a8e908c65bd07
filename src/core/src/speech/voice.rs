//! Speaking: one service after the other until one has spoken.

use crate::settings::SpeechSettings;
use goclaw_ports::{
    Error, ErrorKind, Result, message,
    speech::{Audio, AudioFiles, AudioFormat, SpeechError, SpeechProvider, SpeechProviders, SpeechRequest, SpeechService},
};
use std::sync::Arc;
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};
use tokio_util::task::AbortOnDropHandle;

/// How many texts are spoken at once.
pub(crate) const AT_ONCE: usize = 16;

/// What speaks.
pub(crate) struct Voice {
    pub providers: Arc<dyn SpeechProviders>,
    pub files: Arc<dyn AudioFiles>,
    pub runtime: Handle,
    /// Who speaks now.
    pub speaking: Arc<Semaphore>,
}

/// A spoken text, and who spoke it.
pub(crate) struct Spoken {
    pub audio: Audio,
    pub by: SpeechService,
}

/// The format that a channel wants.
pub(super) fn format_for(channel: &str) -> AudioFormat {
    if channel == "telegram" { AudioFormat::Opus } else { AudioFormat::Mp3 }
}

impl Voice {
    /// The services that can be asked.
    pub fn configured(&self) -> Vec<SpeechService> {
        self.providers.now().iter().map(|provider| provider.service()).collect()
    }

    /// The services that can be asked, in the order in which they are.
    pub fn order(&self, settings: &SpeechSettings) -> Vec<SpeechService> {
        ordered(self.configured(), settings.provider)
    }

    /// Has a text spoken: by `only` if it is given, else by the first service that can. A voice or model that the request names
    /// is the first one's; the others do not know it.
    ///
    /// # Errors
    /// `NotFound` if no service is configured or not the one that is asked for; `Unavailable` if none spoke, with the reasons as
    /// the cause.
    pub async fn speak(&self, settings: &SpeechSettings, request: SpeechRequest, only: Option<SpeechService>) -> Result<Spoken> {
        let providers = self.providers.now();
        let find = |service: SpeechService| providers.iter().find(|provider| provider.service() == service).cloned();
        let queue: Vec<Arc<dyn SpeechProvider>> = match only {
            Some(service) => vec![find(service).ok_or_else(|| Error::not_found("tts provider", service))?],
            None => self.order(settings).into_iter().filter_map(find).collect(),
        };
        if queue.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, message::no_speech_provider()));
        }
        let (patience, speaking) = (settings.timeout, self.speaking.clone());
        // Where connections live longer than the worker that took a request.
        let work = self.runtime.spawn(async move {
            let Ok(Ok(_permit)) = timeout(patience, speaking.acquire_owned()).await else {
                return Err(Error::unavailable("text to speech"));
            };
            let (mut request, mut reasons) = (request, Vec::new());
            for provider in queue {
                let by = provider.service();
                match timeout(patience, provider.speak(&request)).await {
                    Ok(Ok(audio)) if !audio.bytes.is_empty() => return Ok(Spoken { audio, by }),
                    Ok(Ok(_)) => reasons.push(format!("{by}: it answered without audio")),
                    Ok(Err(error)) => reasons.push(error.to_string()),
                    Err(_) => reasons.push(format!("{by}: it took longer than {patience:?}")),
                }
                tracing::warn!(provider = %by, why = reasons.last(), "a text could not be spoken");
                (request.voice, request.model) = (None, None);
            }
            Err(Error::new(ErrorKind::Unavailable, message::speech_failed()).because(SpeechError(reasons.join("; "))))
        });
        AbortOnDropHandle::new(work).await.map_err(Error::internal)?
    }
}

/// The preferred service, if it is there, then the others in their order.
fn ordered(mut configured: Vec<SpeechService>, preferred: Option<SpeechService>) -> Vec<SpeechService> {
    configured.sort_by_key(|service| (Some(*service) != preferred, SpeechService::ALL.iter().position(|known| known == service)));
    configured
}

#[cfg(test)]
mod tests {
    use super::*;
    use SpeechService::{Edge, Elevenlabs, Minimax, Openai};
    use async_trait::async_trait;
    use std::{
        future,
        path::{Path, PathBuf},
        sync::Mutex,
    };

    #[test]
    fn the_preferred_one_is_first_and_the_others_keep_their_order() {
        assert_eq!(ordered(vec![Minimax, Edge, Openai], None), [Openai, Edge, Minimax]);
        assert_eq!(ordered(vec![Openai, Elevenlabs, Edge, Minimax], Some(Edge)), [Edge, Openai, Elevenlabs, Minimax]);
        assert_eq!(ordered(vec![Edge], Some(Openai)), [Edge]);
        assert_eq!(ordered(vec![], Some(Openai)), []);
    }

    #[derive(Clone, Copy)]
    enum Does {
        Speaks,
        Fails,
        SaysNothing,
        Hangs,
    }

    struct Fake(SpeechService, Does, Asked);

    #[async_trait]
    impl SpeechProvider for Fake {
        fn service(&self) -> SpeechService {
            self.0
        }
        async fn speak(&self, request: &SpeechRequest) -> Result<Audio, SpeechError> {
            self.2.lock().unwrap().push((self.0, request.voice.clone()));
            match self.1 {
                Does::Speaks => Ok(Audio { bytes: request.text.clone().into(), format: request.format }),
                Does::SaysNothing => Ok(Audio { bytes: vec![], format: request.format }),
                Does::Fails => Err(SpeechError(format!("{}: no", self.0))),
                Does::Hangs => future::pending().await,
            }
        }
    }

    struct Services(Vec<Arc<dyn SpeechProvider>>);

    impl SpeechProviders for Services {
        fn now(&self) -> Vec<Arc<dyn SpeechProvider>> {
            self.0.clone()
        }
    }

    #[async_trait]
    impl AudioFiles for Services {
        async fn keep(&self, workspace: &Path, _: &Audio) -> Result<PathBuf> {
            Ok(workspace.to_owned())
        }
    }

    type Asked = Arc<Mutex<Vec<(SpeechService, Option<String>)>>>;

    fn voice(services: &[(SpeechService, Does)]) -> (Voice, Asked) {
        let asked = Asked::default();
        let services: Vec<Arc<dyn SpeechProvider>> = services.iter().map(|(service, does)| Arc::new(Fake(*service, *does, asked.clone())) as _).collect();
        let (providers, files) = (Arc::new(Services(services)), Arc::new(Services(vec![])));
        (Voice { providers, files, runtime: Handle::current(), speaking: Arc::new(Semaphore::new(AT_ONCE)) }, asked)
    }

    fn settings() -> SpeechSettings {
        SpeechSettings::default()
    }

    fn request() -> SpeechRequest {
        SpeechRequest { text: "hello".into(), voice: Some("ann".into()), model: None, format: AudioFormat::Mp3 }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_one_speaks_if_one_fails_hangs_or_says_nothing() {
        let (voice, asked) = voice(&[(Openai, Does::Fails), (Elevenlabs, Does::Hangs), (Edge, Does::SaysNothing), (Minimax, Does::Speaks)]);
        let spoken = voice.speak(&settings(), request(), None).await.unwrap();
        assert_eq!((spoken.by, spoken.audio.bytes.as_slice()), (Minimax, &b"hello"[..]));
        // A voice is its service's own.
        let ann = Some("ann".to_owned());
        assert_eq!(*asked.lock().unwrap(), [(Openai, ann), (Elevenlabs, None), (Edge, None), (Minimax, None)]);
    }

    #[tokio::test(start_paused = true)]
    async fn if_nobody_speaks_the_reasons_are_told() {
        let (voice, _) = voice(&[(Openai, Does::Fails), (Edge, Does::Hangs)]);
        let error = voice.speak(&settings(), request(), None).await.err().unwrap();
        assert_eq!((error.kind, error.message.to_string().as_str()), (ErrorKind::Unavailable, "all tts providers failed"));
        assert_eq!(error.cause.unwrap().to_string(), "openai: no; edge: it took longer than 30s");
    }

    #[tokio::test]
    async fn only_the_one_that_is_asked_for_speaks() {
        let (voice, asked) = voice(&[(Openai, Does::Speaks), (Edge, Does::Fails)]);
        let error = voice.speak(&settings(), request(), Some(Edge)).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        let error = voice.speak(&settings(), request(), Some(Minimax)).await.err().unwrap();
        assert_eq!((error.kind, error.message.to_string().as_str()), (ErrorKind::NotFound, "tts provider not found: minimax"));
        assert_eq!(asked.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn nobody_to_ask_is_told() {
        let (voice, _) = voice(&[]);
        assert_eq!(voice.speak(&settings(), request(), None).await.err().unwrap().kind, ErrorKind::NotFound);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_too_long_for_their_turn_is_sent_away() {
        let (voice, asked) = voice(&[(Openai, Does::Speaks)]);
        let _all = voice.speaking.clone().acquire_many_owned(u32::try_from(AT_ONCE).unwrap()).await.unwrap();
        assert_eq!(voice.speak(&settings(), request(), None).await.err().unwrap().kind, ErrorKind::Unavailable);
        assert!(asked.lock().unwrap().is_empty());
    }
}
