// Everything that people read, in each language. `{name}` is filled in.
const EN = {
  skip: "Skip to content", nav: "Sections", language: "Language", tabCreate: "Create", tabAvatars: "Avatars", tabHistory: "History", tabApi: "API",
  title: "Make a portrait speak", lead: "A photo and a voice become a video, in seconds.",
  portrait: "Portrait", speech: "Speech", settings: "Settings", settingsHint: "movement, expression, quality", video: "Video",
  dropImage: "Drop a photo here, or choose one", anotherImage: "Drop another photo here, or choose one", imageRules: "JPEG, PNG or WebP, up to {image} MB. One face, looking at the camera.",
  dropAudio: "Drop an audio file here, or choose one", audioRules: "WAV, MP3, FLAC, OGG or M4A, up to {seconds} seconds and {audio} MB.",
  byText: "Text", byFile: "Audio file", byRecord: "Microphone", whatToSay: "What shall be said?", textExample: "Hello! I am a portrait, and I can speak.",
  characters: "{n} of {most} characters", voice: "Voice", voiceLanguage: "Language of the voice", automatic: "Automatic",
  record: "Record", stopRecording: "Stop recording", recordAgain: "Record again", level: "Level", recorded: "Recorded: {seconds} s",
  noMicrophone: "The microphone cannot be used. Allow it in the browser, or choose an audio file.", insecure: "Browsers allow the microphone on https and localhost only.",
  keep: "Keep as avatar", avatarName: "Name of the avatar", keeping: "Looking for the face…", kept: "“{name}” is an avatar now. The frame shows its face.",
  faceFound: "The face was found: it is in the frame.", facesFound: "There are {count} faces; the frame shows the largest. Crop the photo, or choose “take the largest” in the settings.",
  flaw_turned: "It looks to the side: a portrait from the front looks better.", flaw_cut: "The edge of the photo cuts it.", flaw_eyes_closed: "The eyes look closed: they will not blink.", flaw_small: "It is very small: the video will look soft.",
  chosenAvatar: "Avatar “{name}”", chosenFile: "{name} ({size})", reset: "Back to the defaults",
  make: "Make the video", cancel: "Stop", download: "Download", log: "Log", save: "Save", close: "Close", more: "Show more", use: "Use", play: "Play", remove: "Delete",
  screenHint: "Your video appears here.", sending: "Sending the files…", queued: "Waiting for a free place…", running: "Working…", stopped: "Stopped.", stopping: "Stopping…",
  done: "Done in {seconds} s: {length} s of video.", target: "target {seconds} s",
  seconds: "{seconds} s", embedded: "Made with the built-in engine", embeddedWhy: "The built-in engine animates by geometry; the neural networks give finer motion.", neural: "Made with neural networks", prepared: "Prepared avatar", late: "Above the target",
  quality: "Quality: {score} of 100, {grade}.", gradeGreat: "very good", gradeGood: "good", gradeFair: "fair", gradePoor: "poor",
  qualityLag: "Lips and sound are {ms} ms apart.", qualityClosed: "The mouth is closed in {percent} % of the pauses.",
  stage_speech: "Voice", stage_liveportrait: "Movement", stage_wav2lip: "Lips", stage_encoder: "Video file", frames: "{done} of {total} frames",
  avatarsLead: "Portraits whose movement is prepared: their videos take less time.", avatarsEmpty: "No avatars yet. Choose a photo under “Create” and keep it.",
  historyLead: "Videos are kept for seven days.", historyEmpty: "No videos yet.", preparing: "Being prepared: {percent} %", ready: "Ready", failed: "Failed", cancelled: "Stopped", succeeded: "Finished",
  removeAvatar: "Delete the avatar “{name}”? Finished videos stay.", removeJob: "Delete this video?", untitled: "Untitled", spokenFile: "From an audio file",
  footer: "The videos are synthetic and say so in their metadata. Animate only people who agreed to it.",
  token: "Access token", tokenHelp: "This server asks for a token. It is kept until you close this tab.", away: "The video service does not answer at the moment. You can prepare everything; try again shortly.",
  set_blinks_per_minute: "Blinks per minute", set_head_motion: "Head movement", set_breathing: "Breathing", set_gaze_wander: "Wandering eyes", set_expression: "Expression", set_expression_strength: "Expression strength", set_mouth_strength: "Mouth opening", set_speech_motion: "Head follows the speech (takes a little longer)",
  set_quality: "Quality", set_size_px: "Size", set_framing: "Picture shows", set_engine: "Engine", set_face: "If there are several faces",
  opt_draft: "Draft (small file)", opt_standard: "Standard", opt_high: "High", opt_256: "256 × 256", opt_512: "512 × 512", opt_768: "768 × 768", opt_1024: "1024 × 1024",
  opt_face: "the face", opt_bust: "head and shoulders", "opt_full-picture": "the whole picture", opt_auto: "the best there is", opt_neural: "neural networks only", opt_embedded: "built-in",
  opt_neutral: "as in the photo", opt_warm: "friendly", opt_serious: "serious", opt_happy: "happy", opt_sad: "sad", opt_surprised: "surprised", opt_ask: "tell me", opt_largest: "take the largest",
  off: "off", little: "a little", natural: "natural", much: "lively",
  needImage: "Choose a photo or an avatar first.", needText: "Write what shall be said.", needAudio: "Choose an audio file first.", needRecording: "Record your voice first.",
  err_NO_FACE_FOUND: "There is no human face to be seen in this photo. Choose a portrait that looks at the camera.",
  err_SEVERAL_FACES: "The photo shows several faces. Crop it, or choose “take the largest” in the settings.",
  err_IMAGE_TOO_LARGE: "The photo is too large. Up to {image} MB and 40 megapixels are accepted.",
  err_MEDIA_TOO_LARGE: "The file is too large. Photos may have {image} MB, audio files {audio} MB.",
  err_AUDIO_TOO_LONG: "The audio is too long. Up to {seconds} seconds and {audio} MB are accepted.", err_AUDIO_TOO_SHORT: "The audio is too short. A fifth of a second is the least.",
  err_MEDIA_UNREADABLE: "The file cannot be read. It may be damaged, or it is something else than its name says.", err_MEDIA_NOT_ALLOWED: "Files of this kind are not accepted.",
  err_QUEUE_FULL: "Many videos are being made right now. Try again in a few seconds.", err_RATE_LIMITED: "That was too fast. Wait a few seconds and try again.", err_RESOURCE_EXHAUSTED: "Everything is busy. Try again in a few seconds.",
  err_UNAUTHENTICATED: "This server asks for an access token.", err_VOICE_NOT_FOUND: "This voice is not available any more. Choose another.", err_AVATAR_NOT_FOUND: "This avatar does not exist any more.", err_JOB_NOT_FOUND: "This video does not exist any more.",
  err_PRECONDITION_FAILED: "This is not possible here: {detail}", err_CHECKPOINT_MISSING: "The neural networks are not installed on this server. Choose another engine in the settings.", err_LICENSE_NOT_ACCEPTED: "The licence of the neural networks has not been accepted on this server. Choose another engine in the settings.",
  err_UNAVAILABLE: "The video service does not answer. Try again shortly.", err_STAGE_UNAVAILABLE: "A part of the video service does not answer. Try again shortly.", err_STORE_UNAVAILABLE: "The storage does not answer. Try again shortly.", err_INVALID_INPUT: "Something in the request is not accepted: {detail}",
  err_NOT_FOUND: "This does not exist any more.", err_OBJECT_NOT_FOUND: "The file is not stored any more. Send it again.", err_OBJECT_MISMATCH: "The stored file is another one. Send it again.", err_FOREIGN_OBJECT: "This file belongs to somebody else.",
  err_REQUEST_ID_REUSED: "This was sent before with other content. Try again.", err_JOB_NOT_ENDED: "The video is still being made. Stop it first, or wait.", err_DEVICE_BUSY: "Everything is busy. Try again in a few seconds.", err_SCRATCH_FULL: "The video service has no room for the file. Try again shortly, or tell its operator.", err_DEADLINE_EXCEEDED: "That took too long. Try again.",
  err_INTERNAL: "There is a fault in the video service. Tell its operator: {detail} (request {id})", err_CREDIT_EXCEEDED: "There is a fault in the video service. Tell its operator: {detail} (request {id})", err_OBJECT_CORRUPT: "A stored file is damaged. Tell the operator: {detail} (request {id})",
  err_offline: "The server cannot be reached. Check your connection.", err_other: "Something went wrong: {detail} (request {id})",
};
const RU = {
  skip: "К содержанию", nav: "Разделы", language: "Язык", tabCreate: "Создать", tabAvatars: "Аватары", tabHistory: "История", tabApi: "API",
  title: "Оживите портрет", lead: "Фотография и голос становятся видео за секунды.",
  portrait: "Портрет", speech: "Речь", settings: "Настройки", settingsHint: "движение, выражение, качество", video: "Видео",
  dropImage: "Перетащите сюда фото или выберите файл", anotherImage: "Перетащите другое фото или выберите файл", imageRules: "JPEG, PNG или WebP, до {image} МБ. Одно лицо, взгляд в камеру.",
  dropAudio: "Перетащите сюда аудиофайл или выберите его", audioRules: "WAV, MP3, FLAC, OGG или M4A, до {seconds} секунд и {audio} МБ.",
  byText: "Текст", byFile: "Аудиофайл", byRecord: "Микрофон", whatToSay: "Что нужно сказать?", textExample: "Здравствуйте! Я портрет, и я умею говорить.",
  characters: "{n} из {most} знаков", voice: "Голос", voiceLanguage: "Язык голоса", automatic: "Автоматически",
  record: "Записать", stopRecording: "Остановить запись", recordAgain: "Записать заново", level: "Уровень", recorded: "Записано: {seconds} с",
  noMicrophone: "Микрофон недоступен. Разрешите его в браузере или выберите аудиофайл.", insecure: "Браузеры дают доступ к микрофону только по https и на localhost.",
  keep: "Сохранить как аватар", avatarName: "Имя аватара", keeping: "Ищем лицо…", kept: "«{name}» теперь аватар. Рамка показывает лицо.",
  faceFound: "Лицо найдено: оно в рамке.", facesFound: "Лиц на фото: {count}; в рамке самое крупное. Обрежьте фото или выберите в настройках «взять самое крупное».",
  flaw_turned: "Оно повёрнуто в сторону: портрет анфас выглядит лучше.", flaw_cut: "Край фото обрезает его.", flaw_eyes_closed: "Глаза кажутся закрытыми: морганий не будет.", flaw_small: "Оно очень маленькое: видео получится нерезким.",
  chosenAvatar: "Аватар «{name}»", chosenFile: "{name} ({size})", reset: "Вернуть значения по умолчанию",
  make: "Создать видео", cancel: "Остановить", download: "Скачать", log: "Журнал", save: "Сохранить", close: "Закрыть", more: "Показать ещё", use: "Выбрать", play: "Смотреть", remove: "Удалить",
  screenHint: "Здесь появится ваше видео.", sending: "Отправляем файлы…", queued: "Ждём свободного места…", running: "Работаем…", stopped: "Остановлено.", stopping: "Останавливаем…",
  done: "Готово за {seconds} с: {length} с видео.", target: "цель {seconds} с",
  seconds: "{seconds} с", embedded: "Сделано встроенным движком", embeddedWhy: "Встроенный движок анимирует геометрией; нейросети дают более тонкое движение.", neural: "Сделано нейросетями", prepared: "Подготовленный аватар", late: "Дольше цели",
  quality: "Качество: {score} из 100, {grade}.", gradeGreat: "очень хорошо", gradeGood: "хорошо", gradeFair: "средне", gradePoor: "слабо",
  qualityLag: "Губы и звук расходятся на {ms} мс.", qualityClosed: "Рот закрыт в {percent} % пауз.",
  stage_speech: "Голос", stage_liveportrait: "Движение", stage_wav2lip: "Губы", stage_encoder: "Видеофайл", frames: "{done} из {total} кадров",
  avatarsLead: "Портреты с подготовленным движением: их видео готовы быстрее.", avatarsEmpty: "Аватаров пока нет. Выберите фото в разделе «Создать» и сохраните его.",
  historyLead: "Видео хранятся семь дней.", historyEmpty: "Видео пока нет.", preparing: "Готовится: {percent} %", ready: "Готов", failed: "Не получилось", cancelled: "Остановлено", succeeded: "Готово",
  removeAvatar: "Удалить аватар «{name}»? Готовые видео останутся.", removeJob: "Удалить это видео?", untitled: "Без названия", spokenFile: "Из аудиофайла",
  footer: "Видео синтетические, и это записано в их метаданных. Оживляйте только тех, кто на это согласен.",
  token: "Токен доступа", tokenHelp: "Этот сервер требует токен. Он хранится, пока открыта вкладка.", away: "Сервис видео сейчас не отвечает. Можно всё подготовить и попробовать чуть позже.",
  set_blinks_per_minute: "Морганий в минуту", set_head_motion: "Движение головы", set_breathing: "Дыхание", set_gaze_wander: "Блуждание взгляда", set_expression: "Выражение лица", set_expression_strength: "Сила выражения", set_mouth_strength: "Раскрытие рта", set_speech_motion: "Голова следует за речью (чуть дольше)",
  set_quality: "Качество", set_size_px: "Размер", set_framing: "В кадре", set_engine: "Движок", set_face: "Если лиц несколько",
  opt_draft: "Черновик (малый файл)", opt_standard: "Обычное", opt_high: "Высокое", opt_256: "256 × 256", opt_512: "512 × 512", opt_768: "768 × 768", opt_1024: "1024 × 1024",
  opt_face: "лицо", opt_bust: "голова и плечи", "opt_full-picture": "вся фотография", opt_auto: "лучший из доступных", opt_neural: "только нейросети", opt_embedded: "встроенный",
  opt_neutral: "как на фото", opt_warm: "приветливое", opt_serious: "серьёзное", opt_happy: "радостное", opt_sad: "грустное", opt_surprised: "удивлённое", opt_ask: "сообщить мне", opt_largest: "взять самое крупное",
  off: "нет", little: "немного", natural: "естественно", much: "живо",
  needImage: "Сначала выберите фото или аватар.", needText: "Напишите, что нужно сказать.", needAudio: "Сначала выберите аудиофайл.", needRecording: "Сначала запишите голос.",
  err_NO_FACE_FOUND: "На этом фото не видно лица человека. Выберите портрет с взглядом в камеру.",
  err_SEVERAL_FACES: "На фото несколько лиц. Обрежьте его или выберите в настройках «взять самое крупное».",
  err_IMAGE_TOO_LARGE: "Фото слишком большое. Принимается до {image} МБ и 40 мегапикселей.",
  err_MEDIA_TOO_LARGE: "Файл слишком большой. Фото — до {image} МБ, аудио — до {audio} МБ.",
  err_AUDIO_TOO_LONG: "Запись слишком длинная. Принимается до {seconds} секунд и {audio} МБ.", err_AUDIO_TOO_SHORT: "Запись слишком короткая. Нужна хотя бы пятая часть секунды.",
  err_MEDIA_UNREADABLE: "Файл не читается. Возможно, он повреждён или это не то, что говорит его имя.", err_MEDIA_NOT_ALLOWED: "Такие файлы не принимаются.",
  err_QUEUE_FULL: "Сейчас создаётся много видео. Попробуйте через несколько секунд.", err_RATE_LIMITED: "Слишком быстро. Подождите несколько секунд и попробуйте снова.", err_RESOURCE_EXHAUSTED: "Всё занято. Попробуйте через несколько секунд.",
  err_UNAUTHENTICATED: "Этот сервер требует токен доступа.", err_VOICE_NOT_FOUND: "Этого голоса больше нет. Выберите другой.", err_AVATAR_NOT_FOUND: "Этого аватара больше нет.", err_JOB_NOT_FOUND: "Этого видео больше нет.",
  err_PRECONDITION_FAILED: "Здесь это невозможно: {detail}", err_CHECKPOINT_MISSING: "Нейросети на этом сервере не установлены. Выберите другой движок в настройках.", err_LICENSE_NOT_ACCEPTED: "Лицензия нейросетей на этом сервере не принята. Выберите другой движок в настройках.",
  err_UNAVAILABLE: "Сервис видео не отвечает. Попробуйте чуть позже.", err_STAGE_UNAVAILABLE: "Часть сервиса видео не отвечает. Попробуйте чуть позже.", err_STORE_UNAVAILABLE: "Хранилище не отвечает. Попробуйте чуть позже.", err_INVALID_INPUT: "Запрос не принят: {detail}",
  err_NOT_FOUND: "Этого больше нет.", err_OBJECT_NOT_FOUND: "Файл больше не хранится. Отправьте его снова.", err_OBJECT_MISMATCH: "Сохранённый файл отличается. Отправьте его снова.", err_FOREIGN_OBJECT: "Этот файл принадлежит другому.",
  err_REQUEST_ID_REUSED: "Это уже отправлялось с другим содержимым. Попробуйте снова.", err_JOB_NOT_ENDED: "Видео ещё создаётся. Остановите его или подождите.", err_DEVICE_BUSY: "Всё занято. Попробуйте через несколько секунд.", err_SCRATCH_FULL: "Сервису видео не хватает места для файла. Попробуйте чуть позже или сообщите администратору.", err_DEADLINE_EXCEEDED: "Это заняло слишком много времени. Попробуйте снова.",
  err_INTERNAL: "В сервисе видео ошибка. Сообщите администратору: {detail} (запрос {id})", err_CREDIT_EXCEEDED: "В сервисе видео ошибка. Сообщите администратору: {detail} (запрос {id})", err_OBJECT_CORRUPT: "Сохранённый файл повреждён. Сообщите администратору: {detail} (запрос {id})",
  err_offline: "Сервер недоступен. Проверьте соединение.", err_other: "Что-то пошло не так: {detail} (запрос {id})",
};
const BOOKS = { en: EN, ru: RU };
const facts = { image: 5, audio: 25, seconds: 60 };
let language = "en";

export const currentLanguage = () => language;

export function setFacts(limits) {
  facts.image = Math.round(limits.image_max_bytes / 1048576);
  facts.audio = Math.round(limits.audio_max_bytes / 1048576);
  facts.seconds = limits.audio_max_seconds;
}

// The words for a key, in the language of the page.
export function say(key, values = {}) {
  const text = BOOKS[language][key] ?? BOOKS.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? facts[name] ?? "");
}

export const knows = (key) => key in BOOKS.en;

export const number = (value, digits = 1) =>
  new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

// Take a language and write the whole page in it.
export function speak(wanted) {
  language = wanted in BOOKS ? wanted : "en";
  document.documentElement.lang = language;
  translate(document);
}

function translate(root) {
  for (const element of root.querySelectorAll("[data-i18n]")) element.textContent = say(element.dataset.i18n);
  for (const element of root.querySelectorAll("[data-i18n-label]")) element.setAttribute("aria-label", say(element.dataset.i18nLabel));
  for (const element of root.querySelectorAll("[data-i18n-placeholder]")) element.placeholder = say(element.dataset.i18nPlaceholder);
}

export const preferred = () => localStorage.getItem("visema-language") ?? (navigator.language?.startsWith("ru") ? "ru" : "en");

// A sentence for a person about an error of the API or of the browser.
export function explain(error) {
  if (error instanceof TypeError) return say("err_offline");
  const facts = { detail: String(error?.message ?? error), id: error?.requestId || "–" };
  return say(error?.reason && knows(`err_${error.reason}`) ? `err_${error.reason}` : "err_other", facts);
}
