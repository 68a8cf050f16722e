// What the server says in English about a finished video, in the language of the page. Unknown sentences stay as they are.
import { currentLanguage, number, say } from "./words.js";

const RUSSIAN = [
  [/^The face is turned by about (\d+) degrees; a frontal portrait looks better\.$/, "Лицо повёрнуто примерно на $1°: портрет анфас выглядит лучше."],
  [/^The face is turned far to the side: the lips may look flat\.$/, "Лицо сильно повёрнуто в сторону: губы могут выглядеть плоскими."],
  [/^The face is cut by the edge of the picture\.$/, "Край фото обрезает лицо."],
  [/^The eyes look closed; they will not blink\.$/, "Глаза кажутся закрытыми: морганий не будет."],
  [/^The face is only (\d+) pixels high; the video will look soft\.$/, "Высота лица всего $1 пикселей: видео получится нерезким."],
  [/^Some frames show no face: they pass unchanged\.$/, "На некоторых кадрах нет лица: они остались без изменений."],
  [/^The picture is partly transparent; a neutral background was put behind it\.$/, "Картинка частично прозрачная: под неё положен нейтральный фон."],
  [/^The picture is animated; its first frame was used\.$/, "Картинка анимированная: взят её первый кадр."],
  [/^The picture's EXIF block is damaged; it was not rotated\.$/, "Данные EXIF повреждены: картинка не повёрнута."],
  [/^The picture's colour profile is damaged; its colours were taken as sRGB\.$/, "Цветовой профиль повреждён: цвета взяты как sRGB."],
  [/^Parts of the audio are damaged and were left out\.$/, "Части записи повреждены и пропущены."],
  [/^The audio has more than two channels; it was mixed down to two\.$/, "В записи больше двух каналов: они сведены к двум."],
  [/^The recording is very quiet\.$/, "Запись очень тихая."],
  [/^The recording is clipped: its loud parts are cut off\.$/, "Запись перегружена: громкие места обрезаны."],
  [/^The recording is noisy: speech hardly stands out\.$/, "Запись шумная: речь едва выделяется."],
  [/^No speech is heard in the audio\.$/, "В записи не слышно речи."],
  [/^The mouth hardly moves although somebody speaks\.$/, "Рот почти не движется, хотя кто-то говорит."],
  [/^The lips are (\d+) ms late\.$/, "Губы опаздывают на $1 мс."],
  [/^The lips are (\d+) ms early\.$/, "Губы спешат на $1 мс."],
  [/^The lips follow the speech loosely; clear speech without music and noise looks better\.$/, "Губы следуют за речью неточно: чёткая речь без музыки и шума выглядит лучше."],
  [/^The mouth does not close in pauses\.$/, "Рот не закрывается в паузах."],
  [/^The picture changes outside the mouth\.$/, "Картинка меняется и вне рта."],
  [/^The picture flickers\.$/, "Картинка мерцает."],
];

export function told(sentence) {
  if (currentLanguage() !== "ru") return sentence;
  const known = RUSSIAN.find(([pattern]) => pattern.test(sentence));
  return known ? sentence.replace(...known) : sentence;
}

const grade = (score) => (score >= 90 ? "gradeGreat" : score >= 80 ? "gradeGood" : score >= 60 ? "gradeFair" : "gradePoor");

// How good a video is, in plain words; empty when nothing was measured.
export function describeQuality(quality) {
  if (!quality) return "";
  const parts = [say("quality", { score: quality.score, grade: say(grade(quality.score)) })];
  if (quality.lag_ms !== null) parts.push(say("qualityLag", { ms: number(Math.abs(quality.lag_ms), 0) }));
  if (quality.closed_in_silence_ratio !== null) parts.push(say("qualityClosed", { percent: number(100 * quality.closed_in_silence_ratio, 0) }));
  return parts.join(" ");
}
