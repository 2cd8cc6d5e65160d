"""Each rule tells defects from what only looks like them, in many styles."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from tests.machine_speed import slowness

import kitae.data
from kitae.chat import Conversation
from kitae.core.i18n import catalogue
from kitae.data.clean.rules import GATES, RowView, findings, repaired
from kitae.data.clean.rules.encoding import mended
from kitae.data.clean.rules.patterns import any_of, table
from kitae.data.clean.rules.private import masked
from kitae.data.clean.rules.truncated import open_end

ASKED = "Why is the sky blue?"
TRUE = "Because air scatters short waves of light more than long ones, the sky looks blue to us."


def row(asked: str, answer: str) -> Conversation:
    return Conversation.of([{"role": "user", "content": asked}, {"role": "assistant", "content": answer}], "rows:1")


def gates(asked: str, answer: str, *languages: str) -> set[str]:
    return {finding.gate for finding in findings(RowView(row(asked, answer)), languages)}


CONTAMINATED = [
    TRUE + "\n[END]",
    "output: " + TRUE,
    "<think>The user wants to know why. Keep it short.",
    "「assistant」" + TRUE,
    "回答：" + TRUE,
    "ASSISTANT'S RESPONSE: " + TRUE,
    TRUE + "\n[End of response]",
    "{'answer': 'It is in Tokyo.'}",
    TRUE + "\n\nQuestion: What is the capital of France?\nAnswer: Paris.",
    "*** ANSWER ***\n" + TRUE,
    "<|im_start|>assistant\n" + TRUE + "<|im_end|>",
    TRUE + "<|endoftext|>",
    TRUE + "</s>",
    "<s>" + TRUE,
    "[INST] " + TRUE + " [/INST]",
    TRUE + "<end_of_turn>",
    "<start_of_turn>model\n" + TRUE,
    "<|start_header_id|>assistant<|end_header_id|>\n\n" + TRUE + "<|eot_id|>",
    "<｜Assistant｜>" + TRUE,
    "<<SYS>>" + TRUE,
    "### Response:\n" + TRUE,
    "### Assistant: " + TRUE,
    "### 応答:\n" + TRUE,
    TRUE + "\n\n### Instruction:\nWrite a poem.",
    "Assistant: " + TRUE,
    TRUE + "\nHuman: And at night?\nAssistant: It is dark.",
    "<answer>" + TRUE + "</answer>",
    "<response>\n" + TRUE,
    TRUE + "</output>",
    "<final_answer>" + TRUE + "</final_answer>",
    "<p>" + TRUE + "</p>",
    "Air scatters light.<br>" + TRUE,
    "It is <b>blue</b>. " + TRUE,
    "<title>The sky</title>\n<body>" + TRUE + "</body>",
    "<回答>" + TRUE + "</回答>",
    "[OUTPUT]" + TRUE + "[/OUTPUT]",
    "[Answer] " + TRUE,
    json.dumps({"answer": TRUE}),
    "Dear {{name}}, " + TRUE,
    "In {country} the sky is blue. " + TRUE,
    "|ASSISTANT| " + TRUE,
    "((ANSWER BEGIN)) " + TRUE,
    "<BEGIN_ANSWER>\n" + TRUE,
    "$$ANSWER$$ " + TRUE,
    "＜出力＞" + TRUE,
    str({"role": "assistant", "content": TRUE}),
    "=== ANSWER ===\n" + TRUE,
    "@@assistant@@ " + TRUE,
    "<<REPLY>> " + TRUE,
    "【回答】" + TRUE,
    "{%answer%} " + TRUE,
    "$ANSWER: " + TRUE,
    "::: {.answer}\n" + TRUE + "\n:::",
    "BEGININPUT " + TRUE,
    "<ANSWER_START>" + TRUE + "<ANSWER_END>",
    "<extra_id_0> " + TRUE + " <extra_id_1>",
    TRUE + " [EOT]",
    TRUE + " <END>",
    "A: " + TRUE,
    json.dumps({"role": "assistant", "content": TRUE}),
    "\\n\\nAssistant: " + TRUE,
    f'"output": "{TRUE}"',
]


@pytest.mark.parametrize("answer", CONTAMINATED)
def test_markup_of_another_format(answer: str) -> None:
    assert "data.tags" in gates(ASKED, answer)


@pytest.mark.parametrize(("group", "entry"), [(group, entry) for group, entries in table().items() for entry in entries])
def test_each_pattern_finds_what_it_is_for_and_nothing_else(group: str, entry: dict[str, str]) -> None:
    alone = re.compile(entry["pattern"])
    assert alone.search(entry["for"]) and not any_of(group).search(entry["against"])
    others = [other["pattern"] for other in table()[group] if other is not entry]
    assert not any(re.search(other, entry["for"]) for other in others)  # or one of them is not needed


@pytest.mark.parametrize(
    "asked",
    [
        "Below is an instruction that describes a task. Write a response.\n\n### Instruction:\nSing.\n\n### Response:",
        "<|im_start|>user\n" + ASKED + "<|im_end|>",
        "Human: " + ASKED,
        ASKED + "\n\n### Response:\n",
    ],
)
def test_markup_of_another_format_in_a_question(asked: str) -> None:
    assert "data.tags" in gates(asked, TRUE)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("Write an HTML page with a title.", "<html><head><title>Hi</title></head><body><p>Hi</p></body></html>"),
        ("Create a button that says OK.", "<button>OK</button>"),
        ("Make a heading and a paragraph about cats", "<h1>Cats</h1>\n<p>They sleep.</p>"),
        ("Write a React component called App", "<App>\n  <Header />\n</App>"),
        ("Give me an XML document with a note in it.", "<note><to>Ann</to><body>Hello</body></note>"),
        ("What does the token <|im_start|> mean?", "The token <|im_start|> begins a message in ChatML."),
        ("How does Llama 2 mark instructions?", "It puts them between `[INST]` and `[/INST]`."),
        ("Write a short dialogue between a human and a robot.", "Human: Who are you?\nAI: I am a robot."),
        ("Answer in the form <answer>…</answer>. " + ASKED, "<answer>" + TRUE + "</answer>"),
        ("Return JSON with the key answer. " + ASKED, json.dumps({"answer": TRUE})),
        ("How do I strike text in HTML?", "<s>old price</s>"),
        ("Explain [INST] in Llama 2.", "It marks where the user's instruction begins, and [/INST] where it ends."),
        ("Show a Jinja loop.", "{% for x in items %}{{ x }}{% endfor %}"),
        ("Format it so: 【回答】…", "【回答】" + TRUE),
        ("What is the sum?", "$12.50 -- and so on"),
        ("Q: Why is the sky blue?", "A: " + TRUE),
        ("Extract the car.", '{"model": "Corolla", "year": 2019}'),
        ("Extract the money.", '{"from": "EUR", "value": 20}'),
        ("Describe our grading scale.", "A: 90 to 100\nB: 80 to 89"),
        ("Sum up.\n[START OF TEXT]\nIt rained.\n[END OF TEXT]", "It rained."),
        ("Name its parts.", "It has three parts.\nUser query: what the customer typed.\nSearch: what it does."),
        ("Make a quiz question.", "Q: Which is the longest river?\nA: The Nile."),
        ("Keep the letters only", "output = ''.join(c for c in 'a1' if c.isalpha())"),
        ("Explain [CLS] in BERT", "It begins the input. BERT reads the state of [CLS]."),
        ("Explain Jinja templates.", "Write {{ name }} where the name is to stand."),
        ("Solve it.", "<think>Let me see. 2 + 2.</think>It is 4."),
        ("What is AI?", "AI: short for artificial intelligence, machines that do what needs thought."),
        ("Write a README for my tool", "# Tool\n\n## Usage\n\nRun `tool`.\n\n## Input\n\nA file."),
        ("Write a template for a thank you note", "Dear <Name>,\nThank you for the <gift>."),
        ("Write the C++ header line for vectors", "#include <vector>\nstd::vector<int> v;"),
        ("Is 3 < 5 and 7 > 2?", "Yes, 3 < 5 and 7 > 2."),
        ("Which step of the pipeline logs in?", "with:\n  password: ${{ secrets.TOKEN }}"),
        ("Write a mail merge greeting.", "Dear {{FirstName}}, thank you."),
        ("Jinja2で名前を出すには?", "{{ name }} と書きます。"),
        ("Show me the Alpaca prompt format.", "### Instruction:\n…\n\n### Response:\n…"),
        ("Wrap it in an answer tag: " + ASKED, "<answer>" + TRUE + "</answer>"),
        ("Compare the phones in a table.", "| Model | Price |\n|---|---|\n| A | 3 |"),
        ("How is it bounded?", "|output| ≤ |input| holds for it."),
        ("What is the output?", "$$ Output = f(K, L) $$ where K is capital."),
        ("Give me a grammar.", "number = digit {digit}; and the event {heads} has probability 1/2."),
        ("Compare both in short.", "| Car | Use |\n|---|---|\n| A | town<br>road |"),
        ("Make the word blue bold.", "The sky is <b>blue</b>."),
        ("Is a<b and c>d?", "Yes: a<b and c>d both hold, and so does <p> as a mean."),
        ("How does a page break lines?", "It writes `<br>` where a line ends."),
        ("Bound it from below.", "It is at least $3 \\sqrt[3]{abc}$ and $\\frac{abc}{three}$."),
    ],
)
def test_legitimate_markup(asked: str, answer: str) -> None:
    assert "data.tags" not in gates(asked, answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "   ",
        ".",
        "N/A",
        "<noinput>",
        "-",
        "[no response]",
        "TODO",
        "...",
        "nan",
        "（なし）",
        "[deleted]",
        "{answer}",
        "<blank>",
        "[Your answer here]",
        "\n\n",
        "\u3164",
        "&nbsp;",
        "<br>",
        "（空白）",
        "未記入",
        "特になし",
        "<answer here>",
        "xxx",
        "[]",
        "Sorry, something went wrong. Please try again later.",
        "TODO: write the answer",
        "（ここに回答を入力してください）",
        "```sql\n```",
        "1.\n2.\n3.",
        "○○○○",
        "[object Object]",
        "回答を生成できませんでした。",
    ],
)
def test_nothing_is_answered(answer: str) -> None:
    assert "data.empty" in gates(ASKED, answer)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("What is 6 times 7?", "42"),
        ("Which sign means addition?", "+"),
        ("Answer with an emoji: are you happy?", "😀"),
        ("Which of these are fish: cat, dog? Say None if none is.", "None"),
        ("What does f() return in Python without a return?", "None"),
        ("What is the opposite of added?", "Removed"),
        ("Which word means mistake?", "Error"),
        ("How is a page with nothing on it?", "blank"),
        ("Which tag breaks a line?", "<br>"),
        ("How do I write a space that does not break?", "&nbsp;"),
        ("What happened on Apollo 13?", "Something went wrong with an oxygen tank, and the crew had to come back."),
        ("Translate: エラーが発生しました", "An error occurred."),
        ("「そら」を漢字で書くと?", "「空」"),
        ("はい か いいえ で答えて", "はい"),
        ("Write 30 in Roman numerals.", "XXX"),
        ("既往歴はありますか?", "特になし"),
        ("What is S in Morse code?", "..."),
        ("Which punctuation mark ends a question?", "?"),
        ("What does sorted(()) return in Python?", "[]"),
        ("Return an empty JSON list.", "[]"),
        ("Draw a line of ten dashes.", "----------"),
        ("What is the chemical symbol for sodium?", "Na"),
    ],
)
def test_short_answers(asked: str, answer: str) -> None:
    assert "data.empty" not in gates(asked, answer)


def test_nothing_is_asked() -> None:
    assert "data.empty" in gates(" \n", TRUE)


GARBLED = {
    "cafÃ©": "café",
    "Itâ€™s late": "It’s late",
    "â\x80\x9cHelloâ\x80\x9d": "“Hello”",
    "æ\x97¥æ\x9c¬èª\x9e": "日本語",
    "Ã¼ber alles": "über alles",
    "縺薙ｓ縺ｫ縺｡縺ｯ": "こんにちは",
    "ÐŸÑ€Ð¸Ð²ÐµÑ‚": "Привет",
    "price: Â£5": "price: £5",
    "Iâ€™m ðŸ˜€": "I’m 😀",
    "РџСЂРёРІРµС‚, всё".replace("всё", "РІСЃС‘"): "Привет, всё",
    "caf√© and na√Øve": "café and naïve",
    "It‚Äôs late": "It’s late",
    "&ldquo;Well&rdquo; &mdash; it&rsquo;s &amp;amp; so": "“Well” — it’s & so",
    "It\\u2019s \\ud83d\\ude00": "It’s 😀",
    "One.\\n\\nTwo.": "One.\n\nTwo.",
    "It&acirc;&euro;&trade;s late": "It’s late",
    "РџСЂРёРІРµС‚ вЂ” РІСЃС‘": "Привет — всё",
    "\x1b[31mred\x1b[0m wine": "red wine",
    "It\\u00e2\\u0080\\u0099s late": "It’s late",
}


@pytest.mark.parametrize(("read", "meant"), GARBLED.items())
def test_mojibake_is_found_and_mended(read: str, meant: str) -> None:
    assert "data.encoding" in gates(ASKED, read)
    assert mended(read) == meant


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize("text", ["Müller trank Kaffee – für 3 €.", "L’été à Évry, où l’on dîne", "Så är det på öarna"])
def test_text_read_wrongly_comes_back(text: str, encoding: str) -> None:
    try:
        garbled = text.encode("utf-8").decode(encoding)
    except UnicodeDecodeError:
        pytest.skip("not every byte is a character there")
    assert garbled != text and mended(garbled) == text


@pytest.mark.parametrize(
    "text",
    [
        "NÃO É",
        "Ça va « bien »",
        "Ångström, Ærø, naïve façade",
        "日本語の文章です。",
        "Привет, мир",
        "CAFÉ» fermé",
        "x ≤ y ± 3 µm",
        "Â",
        "AT&T; Q&As; R&D",
        r"so \nabla and \nu are signs \neq words",
        "São Paulo, ça ira",
        "РСФСР и США: СССР распался",
        "√2 and √π",
        "It has side s = r√π, so √πr / 2",
        "Trung tâm thành phố rất đẹp, nhiều người quan tâm đến nó.",
        "Atât cât trebuie, nu mai mult decât credeam.",
        r"D:\new\nDocs and D:\new\nFiles\nMore",
        r"\begin{pmatrix}m\\n\end{pmatrix} + \begin{pmatrix}k\\n\end{pmatrix}",
        "page.php?id=3&section; then &params; and &notes;",
        "\\nu = E/h is the frequency.\n",
        "20 °С–25 °С, 10 °С–15 °С, 5 °С–9 °С",
        "ポルトガル語でリンゴは“maçã”です。",
        "ﾃﾞｰﾀ､ｼｽﾃﾑ､ﾈｯﾄﾜｰｸ､ｻｰﾊﾞｰ",
        "ภาษา\u200bไทย",
        "👩\u200d💻 می\u200cخواهم",
        "src/\n├── a.py\n└── b.py\n╔═══╗\n║ A ║\n╚═══╝",
        "░▒▓ done ████ 80 %",
        "API経由でURLを渡し、JSONで受け取る",
        "北京 API 上海",
        "Δx = α·Δt, 5 μs, λ → ∞",
        "СССР и США, МГУ и ООН",
        "iPhone и Android в России",
    ],
)
def test_true_text_is_left_alone(text: str) -> None:
    assert mended(text) == text
    assert "data.encoding" not in gates(ASKED, text)


def test_accents_that_stand_alone_come_back_with_the_others() -> None:
    meant = "Ma sœur habite à Orléans depuis l'été dernier, où elle élève des chèvres."
    assert mended(meant.encode("utf-8").decode("mac_roman")) == meant


@pytest.mark.parametrize(
    "encoding", ["cp437", "cp850", "cp866", "koi8-r", "cp1250", "cp1251", "gbk", "big5", "euc_jp", "cp932"]
)
@pytest.mark.parametrize("text", ["Die Tür ist geöffnet, die Höhle auch.", "L'été là-bas, où le café coûte cher."])
def test_utf8_read_as_any_page_comes_back(text: str, encoding: str) -> None:
    try:
        garbled = text.encode("utf-8").decode(encoding)
    except UnicodeDecodeError:
        pytest.skip("not every byte is a character there")
    assert garbled != text and mended(garbled) == text


@pytest.mark.parametrize(
    ("written", "read"),
    [("cp1251", "koi8-r"), ("koi8-r", "cp1251"), ("gbk", "koi8-r")],
)
def test_letters_of_another_page_are_lost(written: str, read: str) -> None:
    text = "北京是中国的首都有很多名胜古迹" if written == "gbk" else "Москва является столицей России и крупнейшим городом"
    assert "data.encoding" in gates(ASKED, text.encode(written).decode(read))


def test_euc_jp_read_as_shift_jis() -> None:
    meant = "データベースのインデックスについて説明します。"
    assert mended(meant.encode("euc_jp").decode("cp932")) == meant


@pytest.mark.parametrize("text", ["in\u200bvisible", "soft\xadhy\xadphens", "目に\u200b見えない", "\u2060joined"])
def test_what_nobody_sees_is_taken_out(text: str) -> None:
    assert "data.encoding" in gates(ASKED, text)
    assert mended(text) == re.sub("[\u200b\u2060\xad]", "", text)


@pytest.mark.parametrize("text", ["lost \ufffd here", "don?t say it?s so", "a\x00b", "お茶の葉を入れã¾ã™。", "锟斤拷锟斤拷"])
def test_other_damage(text: str) -> None:
    assert "data.encoding" in gates(ASKED, text)


def test_garbled_text_that_a_row_is_about() -> None:
    assert "data.encoding" not in gates("Why do I see â€™ after reading UTF-8 as Latin-1?", "â€™ is an apostrophe in UTF-8.")
    assert "data.encoding" not in gates("How do I write < in HTML?", "As &lt;, and & as &amp;.")
    assert "data.encoding" not in gates("What does \\n mean?", "\\n is a newline. Write \\n where you want one.")
    assert "data.encoding" not in gates("What does &amp; mean?", "&amp; stands for an ampersand.")
    assert "data.encoding" not in gates("HTMLで著作権マークを表示するには？", "&copy; と書くと © になります。")
    assert "data.encoding" not in gates("How do I write a copyright sign?", "Type `&copy;` in your page.")
    text = 'printf("One\\n\\nTwo"); puts("A\\nB");\n<pre>a &lt; b</pre>'
    assert not findings(RowView(Conversation.of_text(text, "r:1")), ())
    assert "data.encoding" not in gates("Print two lines in Python", 'print("One\\n\\nTwo")')


@pytest.mark.parametrize(
    "answer",
    [
        "I am happy. " * 6,
        "The cat sat on the mat and looked at the dog. " * 3,
        "no no no no no no no no",
        "It begins well, and then it goes on and on " + "and it never stops again and again " * 8,
        "aaaaaaaaaaaaaaaaaaaaaaaaa",
        "ha" * 20,
        "はい、わかりました。" * 6,
        "とても楽しい時間を過ごすことができてよかったです" * 4,
        "one\ntwo\none\ntwo\none\ntwo\none\ntwo\none\ntwo\none\ntwo\n",
        "".join(f"{number}. Lion\n" for number in range(1, 21)),
    ],
)
def test_going_round_in_circles(answer: str) -> None:
    assert "data.repetition" in gates(ASKED, answer)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("Write 'I will behave' ten times.", "I will behave. " * 10),
        ("Are these fish: cod, cat, tuna, dog, eel?", "Cod: fish\nCat: no fish\nTuna: fish\nDog: no fish\nEel: fish"),
        ("Write a chorus.", "Sing la la la\nSing all day\nSing la la la\nSing all night"),
        ("Draw a line of code", "for i in range(10):\n    print(i)\n    print(i)\n    print(i)\n    print(i)\n"),
        ("Laugh.", "Hahahahahaha!"),
        ("Say it.", "Yes, yes, it is very, very good."),
        ("Write ha fifty times.", "ha " * 50),
        ("Give me the identity matrix of size 6.", "\n".join(" ".join(str(int(i == j)) for j in range(6)) for i in range(6))),
        ("What is 1/3 as a decimal, to 40 digits?", "0." + "3" * 40),
        ("True or false?\n" + "".join(f"{i}. {i} > 0\n" for i in range(1, 13)), "".join(f"{i}. True\n" for i in range(1, 13))),
        ("What are my scores?", "1. Win\n2. Win\n3. Loss\n4. Win\n5. Loss\n6. Draw"),
    ],
)
def test_what_may_come_again(asked: str, answer: str) -> None:
    assert "data.repetition" not in gates(asked, answer)


def test_numbers_that_were_asked_for_excuse_no_circles_of_words() -> None:
    assert "data.repetition" in gates("What is 1/3 in decimals?", "It is 0.333333. I hope that helps. " * 8)


PRIVATE = {
    "Write to anna.schmidt@firma-huber.de today": "Write to [MAIL] today",
    "Call me at 090-1234-9876": "Call me at [PHONE]",
    "電話は03-6271-9854です": "電話は[PHONE]です",
    "My number is (415) 823-9921.": "My number is [PHONE].",
    "+44 20 7946 1958 works": "[PHONE] works",
    "Card 4539 1488 0343 6467 please": "Card [CARD] please",
    "SSN 536-22-8412": "SSN [IDENTITY]",
    "My password is Tq7!vlp2, keep it.": "My password is [PASSWORD], keep it.",
    "パスワードはkX93mq7wです": "パスワードは[PASSWORD]です",
    "Passwort: blauer77Hund": "Passwort: [PASSWORD]",
    "渋谷区神南1-2-3": "[ADDRESS]",
    "〒154-0012 東京都世田谷区駒沢3-14-8 駒沢ハイツ205号室": "[ADDRESS]",
    "P.O. Box 4471, Salem, OR 97301": "[ADDRESS]",
    "key sk-proj-abcdEFGH1234567890abcdEFGH": "key [KEY]",
    "AKIAIOSFODNN7RTQXWPL leaked": "[KEY] leaked",
    "IBAN DE89 3704 0044 0532 0130 00 ok": "IBAN [ACCOUNT] ok",
    "〒150-0002 東京都渋谷区渋谷2丁目21-1 まで": "[ADDRESS] まで",
    "マイナンバーは1234 5678 9012です": "マイナンバーは[IDENTITY]です",
    "his social security number is 523 48 9817.": "his social security number is [IDENTITY].",
    "佐藤（kenichi.sato＠yahoo.co.jp）まで": "佐藤（[MAIL]）まで",
    "reach me at jeff dot parker at outlook dot com": "reach me at [MAIL]",
    "anna_b (at) web (dot) de": "[MAIL]",
    "Er wohnt in der Hauptstraße 5, 10115 Berlin": "Er wohnt in der [ADDRESS]",
    "NINO: QQ123456C or JK 12 34 56 C": "NINO: [IDENTITY] or [IDENTITY]",
    "Mi DNI es 54362315K y mi NIE X1234567L": "Mi DNI es [IDENTITY] y mi NIE [IDENTITY]",
    "codice fiscale RSSMRA85T10A562S": "codice fiscale [IDENTITY]",
    "sécu 1 85 05 78 006 084 91": "sécu [IDENTITY]",
    "CPF 529.982.247-25": "CPF [IDENTITY]",
    "PAN ABCPK1234F": "PAN [IDENTITY]",
    "my SIN is 046 454 286": "my SIN is [IDENTITY]",
    "tax file number: 876 543 210": "tax file number: [IDENTITY]",
    "her passport is C01X00T47": "her passport is [IDENTITY]",
    "Ruf an: 0171 5543289 oder 0151/55432891": "Ruf an: [PHONE] oder [PHONE]",
    "Telefon: 030 88427719": "Telefon: [PHONE]",
    "三菱UFJ銀行 普通 1234567": "三菱UFJ銀行 普通 [ACCOUNT]",
    "普通預金口座 1234567、口座番号は「1234567」です": "普通預金口座 [ACCOUNT]、口座番号は「[ACCOUNT]」です",
    "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYzZpLeKqrst": "AWS_SECRET_ACCESS_KEY=[KEY]",
    "番号54362315Kです": "番号[IDENTITY]です",
    "passport number: AB 1234567": "passport number: [IDENTITY]",
    "driver's license number D123 4567 8901": "driver's license number [IDENTITY]",
    "身分证 11010519491231002X": "身分证 [IDENTITY]",
    "東京都渋谷区神南1-2-3 電話:03-3463-1211": "[ADDRESS] 電話:[PHONE]",
    "secret wJalrXUtnFEMI/K7MDENG/bPxRfiCYzZpLeKqrst": "secret [KEY]",
    "東京都渋谷区神南1-2-3 コーポ神南201": "[ADDRESS]",
    "代表は（06）6341-2785、または06（6341）2785です": "代表は[PHONE]、または[PHONE]です",
    "From abroad 0049 30 9018 2233": "From abroad [PHONE]",
    "Il habite 27 bis avenue Jean Jaurès, 31000 Toulouse": "Il habite [ADDRESS]",
    "Er wohnt Am Alten Markt 3a, 18055 Rostock": "Er wohnt [ADDRESS]",
}


@pytest.mark.parametrize(("text", "hidden"), PRIVATE.items())
def test_private_data_is_masked(text: str, hidden: str) -> None:
    assert "data.private" in gates(ASKED, f"{TRUE} {text}")
    assert masked(text) == hidden
    assert masked(hidden) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "In 1234-5678 years, 2010-2015 and 10.5.2020",
        "ISBN 978-3-16-148410-0",
        "Call 1-800-555-0199 for free",
        "Version 1.2.3.4 of 192.168.0.1",
        'git config --global user.email "you@example.com"',
        "Write to info@company.com",
        "The result is 1234567890123456",
        "He ran 3-4-5 and scored 100-200-3000",
        "@mention and user@host",
        "Meet me at the dot in the centre at noon",
        "social security since 1935",
        "Social Security paid out 123456789 dollars.",
        "In July 1863, 51000 Americans fell. In World War 2, 10000 Poles. Windows 10, 20000 Users",
        "You can buy it at amazon dot com today. Sign up at kitae dot net",
        "sin 0.123456789 is about 0.123, and SIN is not COS",
        "commit 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12 and 20231201A or 12345678B",
        "Part RSSMRA85T10A562Z, CPF 529.982.247-26, 1 85 05 78 006 084 92",
        "A passport costs 130 dollars; the flight is BA12345678901",
        "The account has 12345678 users. This account no longer has 12345678 followers. 普通は1234567人が来る",
        "普通は1048576バイトです。一番普通 1234567歩。NHS no longer treats 943 476 5919",
        "１２３４５６７８A and 1 ８５ 05 78 006 084 91 123456",
        "Model LGEPA2024B, order 310000198001010001, build 20240118A, shot at 0930 151124, part 0280 158123",
        "US passports in circulation: 160668889. The SIN of 144 000 000 people",
        "The SHA-1 of it is 2FD4E1C67A2D28FCED849EE1BB76E7391B93EB12",
        "Read https://x.org/docs/Guide2/ChapterTwo/SectionThree/ now",
        "0101 110101 in binary is 53, and 0000 123456",
        "The password is secret. The password was changed in 2019",
        "A random password is 5Lzq8xW2",
        "A bad password is password123",
        "第1区1-2-3、市場価格は1-2-3倍",
    ],
)
def test_what_is_not_private(text: str) -> None:
    assert "data.private" not in gates(ASKED, text)


def test_examples_of_code_keep_what_belongs_to_nobody() -> None:
    asked, answer = "Write a Python function that checks a mail address", "is_valid('john.doe@example.com')  # True"
    assert "data.private" not in gates(asked, answer)
    assert "data.private" in gates("Who wrote this?", "It was taro.yamada45@example.com")
    assert "data.private" not in gates("Who wrote this?", "It was anna.huber@example.com")  # where nobody can be reached


@pytest.mark.parametrize(
    "answer",
    [
        "There are three reasons: the first is the",
        "It scatters light, and",
        "These are the colours:",
        "Blue light (which is short",
        "空が青いのは、光が",
        "Use this:\n```python\nprint(1)",
    ],
)
def test_answers_that_break_off(answer: str) -> None:
    assert "data.truncated" in gates(ASKED, answer)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("Can you give me 6 popular types of pets?", "Dogs, Cats, Fish, Birds"),
        ("List five rivers of Europe.", "Danube, Rhine, Elbe & Seine"),
        ("Identify which is string or percussion: Damphu, Dulcimer", "Dulcimer is string, Damphu"),
        (
            "Categorize each as useful or not. A compass, granola, seventeen oars, ten tons of ore.",
            "Useful\ncompass\nseventeen",
        ),
        ("When?", "2008 - The first car\n2012 - The second car\n20"),
        ("How is it made?", "1. Mix it.\n2. Bake it.\n3"),
        ("Show models and dates", "{one} - {May 1}\n{two} - {June 2}\n{three} - {Septembe"),
        ("What is on it?", "A collection of songs by a choir and its group.\n\nIt"),
        ("How do I speak well?", "1. Stand.\n2. Smile.\n3."),
        ("What to bring?", "- A map\n- A lamp\n-"),
        ("Write a letter", "Dear Ann,\nThank you for the\nTo make it short,"),
    ],
)
def test_answers_that_leave_out_what_was_begun(asked: str, answer: str) -> None:
    assert "data.truncated" in gates(asked, answer)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (ASKED, TRUE),
        ("Give me 4 pets", "Dogs, cats, fish and birds"),
        ("Give me 6 reasons to sleep", "Rest, health, and that is all I can think of."),
        ("What happened in the 3 wars?", "Death, hunger"),
        ("Sort: whale, cod", "whale is a mammal, cod is a fish"),
        ("Useful or not. A compass, oars, granola", "compass\ngranola"),
        ("Who won, and when?", "1. Brazil\n2. Italy"),
        ("What is the sum?", "Add 10 and 10.\n20"),
        ("Fill in", "{a: 1}\n{b: 2}"),
        ("Say it twice", "It rained.\nIt"[:10]),
        (ASKED, "Because of the air"),
        ("Name colours", "- Red\n- Green\n- Blue"),
        ("Add two numbers in Python", "def add(a, b):\n    return a + b"),
        ("What is it made of?", "The thing it is made of"),
        ("Translate: the", "der, die, das"),
        ("Who?", "Ann & Bob"),
        ("年は?", "2024年"),
        ("行きますか?", "行きたいです。ただ仕事があるので"),
        ("目標は?", "健康になりたいです。大切なのは毎日続けること"),
        ("誰でも?", "この講座は無料です。対象は小学生の子ども"),
        ("As JSON", '{"smile": ":{", "age": 3}'),
        ("Its domain?", '"Domain": all x in [0, 5) are allowed'),
        ("どうでしたか?", "楽しかったですよ。また行ければ、、"),
        ("How does a letter to nobody begin?", "To whom it may concern:"),
        ("Write a reply.", "Thank you for the offer. I wish you luck.\n\nWith gratitude,"),
        ("Show a key.", "It looks so:\n-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkq\n-----END PUBLIC KEY-----"),
    ],
)
def test_answers_that_end(asked: str, answer: str) -> None:
    assert "data.truncated" not in gates(asked, answer)


def test_people_who_talk_leave_off_with_any_word() -> None:
    def kinds(turns: int) -> set[str]:
        said = [("user", "旅行は好きですか?"), ("assistant", "好きです。でもお金が")] * turns
        talk = RowView(Conversation.of([{"role": role, "content": text} for role, text in said], "r:1"))
        return {finding.gate for finding in findings(talk)}

    assert "data.truncated" in kinds(1)
    assert "data.truncated" not in kinds(4)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (ASKED, "空気が短い波長の光をよく散乱させるからです。"),
        (
            ASKED,
            "Der Himmel ist blau, weil die Luft das kurzwellige Licht stärker streut als das langwellige.",
        ),
        (
            ASKED,
            "Le ciel est bleu parce que les molécules de l'air diffusent la lumière bleue plus que les autres.",
        ),
        (ASKED, "El cielo es azul porque las moléculas del aire dispersan la luz azul más que los otros colores por su onda."),
        (ASKED, "하늘이 파란 것은 공기가 짧은 파장의 빛을 더 많이 산란시키기 때문입니다."),
        (ASKED, "天空是蓝色的,因为空气散射更多的蓝光,所以我们看到蓝色。"),
        (ASKED, "Небо голубое, потому что воздух рассеивает короткие волны сильнее."),
        ("なぜ空は青いのですか?", TRUE),
        ("Was ist Photosynthese?", "Photosynthesis is how plants make sugar out of light, water and air."),
        ("Pourquoi dort-on?", "We sleep because the body and the brain have to rest after the day."),
        ("¿Qué es Docker?", "Docker is a tool that packs a program with all that it needs to run."),
        ("なぜ空は青いのですか?", "天空是蓝色的，因为空气散射更多的蓝光。"),
        ("How do plants drink?", "Les plantes absorbent l'eau par leurs racines, puis la transportent jusqu'aux feuilles."),
    ],
)
def test_another_language(asked: str, answer: str) -> None:
    assert "data.language" in gates(asked, answer)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("Describe the picture.", "Old man wearing red hat"),
        ("Describe Madrid", "Madrid es la capital de España y una de las ciudades más grandes."),
        ("駐車場の所在地はどこですか?", "安城市営安城駅西駐車場東棟"),
        ("Translate into French: the sky is blue", "Le ciel est bleu et la mer est grande dans les pays du sud."),
        ("How do I say good morning in Japanese?", "おはようございます"),
        ("空は英語で?", "The sky is what you see when you look up in the day."),
        ("List composers", "Bach, Händel, Mozart und Beethoven"),
        ("Continue: 昔々あるところに", "おじいさんとおばあさんが住んでいました。"),
        ("東京の人口は?", "約1400万人です。"),
        ("Perché Moby Dick?", "Perché la balena è il simbolo di quello che non si può avere."),
        ("Wo Hop", "Wo Hop is a restaurant in the Chinatown of New York that is open all night."),
        ("Docker", "アプリケーションをコンテナで動かすための道具です。"),
    ],
)
def test_a_language_that_was_asked_for(asked: str, answer: str) -> None:
    assert "data.language" not in gates(asked, answer)


@pytest.mark.parametrize(
    "answer",
    [
        "La mejor manera es practicar un poco cada día y aprender canciones que te gusten.",
        "Il gatto dorme sul divano perché fuori fa molto freddo.",
        "O gato dorme no sofá porque está muito frio lá fora.",
        "Con mèo ngủ trên ghế vì ngoài trời rất lạnh.",
        "Kedi kanepede uyuyor çünkü dışarısı çok soğuk.",
        "Der Hund schläft gern auf dem Sofa, weil es warm ist.",
    ],
)
def test_short_sentences_in_a_language_that_nobody_wants(answer: str) -> None:
    assert "data.language" in gates(ASKED, answer, "en")
    assert "data.language" not in gates(ASKED, "São Paulo, Curaçao, Malmö, Łódź and Muğla are cities.", "en")


def test_only_wanted_languages() -> None:
    assert "data.language" not in gates("なぜ空は青い?", "空気が短い波長の光をよく散乱させるからです。")
    assert "data.language" in gates("なぜ空は青い?", "空気が短い波長の光をよく散乱させるからです。", "en")


@pytest.mark.parametrize("text", [TRUE, *PRIVATE, *GARBLED, *CONTAMINATED])
def test_what_is_repaired_needs_no_second_repair(text: str) -> None:
    def again(record: dict[str, Any]) -> dict[str, Any]:
        talk = RowView(row(ASKED, record["a"]))
        return repaired(record, findings(talk), talk)

    once = again({"a": text, "b": [{"c": text}], "_id": text, "n": 3})
    assert once["_id"] == text and once["n"] == 3 and once["b"][0]["c"] == once["a"]
    assert again(once) == once


def test_only_texts_at_fault_lose_their_tags() -> None:
    code, bad = "<App>\n<Row/>\n</App>", TRUE + "<|im_end|>"
    talk = RowView(Conversation.of([{"role": role, "content": text} for role, text in (
        ("user", "Write a React component"), ("assistant", code), ("user", ASKED), ("assistant", bad))]))  # fmt: skip
    record = {"messages": [{"content": code}, {"content": bad}], "title": "<response>"}
    mended = repaired(record, findings(talk), talk)
    assert mended == {"messages": [{"content": code}, {"content": TRUE}], "title": "<response>"}


@pytest.mark.parametrize(
    "text",
    [
        "x" + "\n" * 30_000 + "y",
        "あいうえお。" * 20_000,
        "It is so. " * 20_000,
        "-----BEGIN PRIVATE KEY-----\n" * 5_000,
        "54362315K " * 10_000,
        "A-" * 50_000,
        "a@b.co " * 4_000,
        "<|a|>" * 20_000,
        "é" * 100_000,
        "1 2 3 4 " * 20_000,
        "#" * 100_000,
        "( " * 50_000,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    """Each is what some model has written."""
    began = time.process_time()
    for asked, answer in ((ASKED, text), (text, TRUE)):
        talk = RowView(row(asked, answer))
        found = findings(talk)
        open_end(talk)
        repaired({"a": answer, "b": asked}, found, talk)
    assert time.process_time() - began < 8 * slowness()


def test_every_kind_has_its_sentence() -> None:
    """And no sentence is left of a kind that no rule finds."""
    folder = Path(kitae.data.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    for key in catalogue():
        if key.startswith("finding."):
            _, room, gate, kind = key.split(".", 3)
            assert f"{room}.{gate}" in (*GATES, "data.unreadable")
            assert re.search(rf'"{kind}"', source), key
    said = set(re.findall(r'Finding\(\w+, "([\w-]+)"', source))
    assert said <= {key.rpartition(".")[2] for key in catalogue() if key.startswith("finding.")}


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("List the planets with 12 or more moons.", "Jupiter, Saturn, Uranus, Neptune"),
        ("Name the months that have 30 days.", "April, June, September, November"),
        ("Name countries with 24 time zones or more than 10.", "France, Russia"),
    ],
)
def test_a_number_that_counts_something_else(asked: str, answer: str) -> None:
    assert "data.truncated" not in gates(asked, answer)


def test_fewer_than_were_asked_for() -> None:
    assert "data.truncated" in gates("Name five rivers of Europe.", "Rhine, Danube, Elbe")
    assert "data.truncated" in gates("Give me a list of 6 colours", "red, green, blue")


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("Say only an ellipsis.", "…"),
        ("Which character is the wildcard?", "*"),
        ("Give me an example of a chat message in OpenAI's format.", '{"role": "assistant", "content": "Hello!"}'),
    ],
)
def test_signs_and_formats_that_were_asked_for(asked: str, answer: str) -> None:
    assert not gates(asked, answer) & {"data.empty", "data.tags"}


def test_letters_that_an_encoding_had_not() -> None:
    assert "data.encoding" in gates(ASKED, "??????? ???? ?? ??????.")
    assert "data.encoding" not in gates(ASKED, "What?? Really?? Yes!")


def test_every_kind_has_its_words() -> None:
    texts = [*CONTAMINATED, *GARBLED, *PRIVATE]
    found = {(finding.gate, finding.kind) for text in texts for finding in findings(RowView(row(ASKED, text)), ())}
    assert len(found) > 15
    assert not [f"finding.{gate}.{kind}" for gate, kind in found if f"finding.{gate}.{kind}" not in catalogue()]


def test_a_letter_that_names_a_thing_and_a_number_within_a_code_are_whole() -> None:
    chart = "graph TD\n  A[Start] --> B{Password ok?}\n  B -->|yes| C[Home]\n  B -->|no| A"
    assert "data.truncated" not in gates("Draw a flow chart.", chart)
    assert "data.truncated" in gates("Tell me.", "She came home and found a letter. It had been written by a")
    parcel = "Parcel numbers look like 1Z 999 AA1 01 2345 6784."
    assert masked(parcel) == parcel and masked("Call 604-457-4895.") == "Call [PHONE]."
