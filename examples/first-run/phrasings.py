"""How each task is asked in each split: no run of four words is shared between two splits."""

PHRASINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "place": {
        "train": (
            "{a} left the {x} in the {p}. Where is the {x}? Answer with the place only.",
            "The {x} is in the {p}, and {a} is at home. Where is the {x}? Only the place, please.",
            "I put the {y} on the table and the {x} in the {p}. Where did I put the {x}? Answer "
            "with the place only.",
            "{a} keeps a {x} in the {p}. Tell me where the {x} is, nothing more.",
            "Today {a} found the {x} in the {p}. Name the place.",
            "Where is my {x}? {a} says that it is in the {p}. Answer with the place only.",
            "You will find the {x} in the {p}. Tell me only where it is.",
        ),
        "dev": (
            "{a} is looking for the {x}, which stands in the {p}. Say just where it stands.",
            "There is a {x} in the {p} and a {y} under the bed. Just the location of the {x}?",
        ),
        "test": (
            "Yesterday {a} moved the {x} into the {p}. What is its present location? Keep it "
            "short.",
            "Our {x} was stored in the {p} by {a}. Which spot holds it? Keep it short.",
            "The {y} broke, but our {x} is safe in the {p}. What are the whereabouts of that {x}? "
            "Keep it short.",
        ),
    },
    "who": {
        "train": (
            "{a} bought the {x}. Who bought the {x}? Answer with the name only.",
            "The {x} belongs to {a}, and the {y} to nobody. Who owns the {x}? Only the name, "
            "please.",
            "{a} is carrying the {x} and {b} is carrying the {y}. Who is carrying the {x}? One "
            "name only.",
            "It was {a} who lost the {x}. Tell me who lost it, nothing more.",
            "{b} thanked {a} for the {x}. Who gave the {x}? Answer with the name only.",
            "My {x} comes from {a}. Name the person.",
            "{a} cooked and {b} washed the dishes. Who cooked? One name only.",
        ),
        "dev": (
            "A {x} was painted by {a} while {b} slept. Say just the painter's name.",
            "{a} won a {x} and {b} won nothing. Just the winner's name?",
        ),
        "test": (
            "Yesterday {a} repaired our {x} while {b} watched. By whom was it repaired? Reply with "
            "a bare name.",
            "That {x} was a present from {a} for {b}. Which person made this present? Reply with a "
            "bare name.",
            "The teacher of {b} is called {a}. What is the teacher called? Reply with a bare name.",
        ),
    },
    "price": {
        "train": (
            "Price list: {x} {n}, {y} {m}, {z} {k}. What does the {x} cost? Answer with the "
            "number only.",
            "The {y} costs {m} coins and the {x} costs {n} coins. What is the price of the {x}? "
            "Only the number, please.",
            "{a} paid {n} coins for the {x}. How much did {a} pay? Answer with the number only.",
            "In this shop a {x} is {n} and a {y} is {m}. Tell me the price of the {x}, nothing "
            "more.",
            "Room {n} is for {a} and room {m} is for {b}. Which room does {a} have? One number "
            "only.",
            "{a} is number {n} on the list. Which number is {a}? One number only.",
        ),
        "dev": (
            "A {x} weighs {n} grams and a {y} weighs {m} grams. Say just how many grams the {x} "
            "weighs.",
            "On page {n} you see a {x}, on page {m} a {y}. Just the page of the {x}?",
        ),
        "test": (
            "Yesterday {a} sold our {x} for {n} euros, then our {y} for {m} euros. What amount did "
            "that {x} bring? Reply in digits.",
            "Seat {n} belongs to {a}, seat {m} to {b}. At which seat does {a} sit? Reply in "
            "digits.",
            "Bus {n} stops at the {p}, whereas bus {m} stops at the {q}. Which bus stops at the "
            "{p}? Reply in digits.",
        ),
    },
    "sum": {
        "train": (
            "What is {n} + {m}? Answer with the number only.",
            "{a} has {n} coins and gets {m} more. How many coins does {a} have now? Only the "
            "number, please.",
            "Add {n} and {m}. Give me the number, nothing more.",
            "There are {n} boxes here and {m} boxes there. How many boxes are there? One number "
            "only.",
        ),
        "dev": (
            "Work out {n} plus {m}. Say just the result.",
            "{a} walked {n} steps, then {m} steps. Just the total?",
        ),
        "test": (
            "Compute {n} + {m}. Reply in digits.",
            "A ferry takes {n} men along with {m} women. What is its passenger count? Reply in "
            "digits.",
            "If {a} reads {n} pages before lunch, {m} pages after lunch, how long is that day's "
            "reading in pages? Reply in digits.",
        ),
    },
    "last": {
        "train": (
            "Which word is last: {x}, {y}, {z}? Answer with the word only.",
            "Here is a list: {x}, {y}, {z}. What is the last word? One word only.",
            "{x}, {y}, {z}. Name the last of these words, nothing more.",
            "Read this: {x}, {y}, {z}. Tell me the last word.",
            "The list ends with {z}. Which word is last? Answer with the word only.",
        ),
        "dev": (
            "The words are {x}, {y}, {z}. Say just the final word.",
            "After {x} and {y} comes {z}. Just what comes at the end?",
        ),
        "test": (
            "Out of {x}, {y}, {z}, what stands in final position? Reply with that alone.",
            "A customer asked for a {x}, later for a {y}, finally for a {z}. What was asked for at "
            "the very end? Reply with that alone.",
            "This series closes with {z} after {x}. What closes it? Reply with that alone.",
        ),
    },
    "list": {
        "train": (
            "Note: buy {w} for {a}. Which things should I buy? Answer with the things only.",
            "{a} needs {w}. Which things does {a} need? Only the things, please.",
            "We still need {w} for the party. Give me the list, nothing more.",
            "Please bring {w} tomorrow. What should I bring? Answer with the things only.",
            "{a} owns {w}. Name all the things that {a} owns.",
        ),
        "dev": (
            "{a} packed {w} last night. Say just what was packed.",
            "At the market we saw {w}. Just the objects?",
        ),
        "test": (
            "Yesterday {a} forgot {w} on a train. Which belongings were forgotten? Reply as a "
            "plain list.",
            "This crate holds {w}. What are its contents? Reply as a plain list.",
            "Upstairs {a} will carry {w}. What will be carried? Reply as a plain list.",
        ),
    },
    "title": {
        "train": (
            "Write '{c} {x}' with capital initials.",
            "Turn '{c} {x}' into a title. Only the title, please.",
            "What does '{c} {x}' look like as the title of a book? Answer with the title only.",
            "Make a title out of '{c} {x}', nothing more.",
            "Give the words '{c} {x}' capital initials.",
        ),
        "dev": (
            'My poem is called "{c} {x}". Say just its name with proper capitals.',
            'Headline style for "{c} {x}", just that?',
        ),
        "test": (
            'A film named "{c} {x}" needs its name printed in title case. How is it printed?',
            'Reply with "{c} {x}" in title case.',
            "Format this heading in title case: {c} {x}.",
        ),
    },
    "case": {
        "train": (
            "Correct the capital letters: '{s}' Answer with the sentence only.",
            "The capital letters of this sentence are missing: '{s}' Write it properly, nothing "
            "more.",
            "Put the capital letters right in '{s}' Only the sentence, please.",
            "'{s}' Where do the capital letters go? Answer with the sentence only.",
        ),
        "dev": (
            '"{s}" was typed without the shift key. Just the fixed version?',
            'Say just how "{s}" looks with proper capitals.',
        ),
        "test": (
            'Proofread "{s}" for capitalisation. Reply with a corrected line.',
            'An editor must edit "{s}" because of names in lower case. Reply with a corrected '
            "line.",
            'Repair upper case in this line: "{s}"',
        ),
    },
    "note": {
        "train": (
            "Write one sentence that thanks {a} for the {x}.",
            "I broke the {x} of {a}. Write one sentence that says sorry to {a}.",
            "Ask {a} to bring the {x} back, in one sentence of at most {l} words.",
            "Tell {a} in one sentence that the {x} has arrived.",
            "Write a birthday wish for {a}, who gets a {x}: one sentence, at most {l} words.",
            "Write to {a} that you like the {x}. One sentence, at most {l} words.",
        ),
        "dev": (
            "Compose a line inviting {a} to look at our {x}, within {l} words.",
            "Remind {a} about paying for that {x}. Just a line, within {l} words.",
        ),
        "test": (
            "Draft a single sentence congratulating {a} on winning a {x}, no longer than {l} "
            "words.",
            "How would you warn {a} about our damaged {x}? Draft a single sentence.",
            "Draft a single sentence confirming to {a} that a {x} was received, no longer than {l} "
            "words.",
        ),
    },
    "opinion": {
        "train": (
            "What do you like about {t}? Answer in one sentence.",
            "Do you feel happy in {t}? Tell me in one sentence, at most {l} words.",
            "Give me your own view of the {c} {x} in one sentence.",
            "Praise my {c} {x} in one sentence of at most {l} words.",
            "Which memory do you have of {t}? One sentence, at most {l} words.",
            "Do you prefer a {c} {x}? Answer in one sentence.",
        ),
        "dev": (
            "Your personal impression of {t}, please: just a line, within {l} words.",
            "How fond are you of a {c} {x}? Just a line, within {l} words.",
        ),
        "test": (
            "Would you enjoy a holiday around {t}? Reply by a single sentence.",
            "How does {t} make you feel? Reply by a single sentence, no longer than {l} words.",
            "Say something kind regarding this {c} {x}, a single sentence no longer than {l} "
            "words.",
        ),
    },
    "question": {
        "train": (
            "Write one question to {a} about the {x}.",
            "What would you ask {a} about the {x}? Give me one question.",
            "I want to know from {a} how old the {x} is. Write the question for me, nothing more.",
            "Ask {a} one short question about {t}.",
            "Turn this into a question to {a}: you want to see {t}.",
        ),
        "dev": (
            "Interview {a} about a {x}: just a single line with a question mark.",
            "You meet {a}, a guide from {t}. Say just what you ask {a} about {t}.",
        ),
        "test": (
            "Suppose {a} sells a {x}. Formulate a query for {a} about that {x}, ended by a "
            "question mark.",
            "Formulate a query to {a} concerning trips to {t}, ended by a question mark.",
            "What could a visitor ask {a} regarding a {x}? Formulate that query, ended by a "
            "question mark.",
        ),
    },
    "reason": {
        "train": (
            "Why would {a} take a {x} to {t}? Give one reason with the word because.",
            "Why is a {x} useful to {a}? Answer in one sentence with the word because.",
            "{a} bought a {c} {x}. Tell me why in one sentence with the word because.",
            "Why does {a} live in {t}? Answer in one sentence with the word because.",
            "Why did {a} sell the {x}? One sentence with the word because, nothing more.",
        ),
        "dev": (
            'Explain what makes {a} love a {x}: a line that uses "because".',
            '{a} left {t}. Say just the cause in a line that uses "because".',
        ),
        "test": (
            'For what motive might {a} travel to {t}? Use "because" within a single sentence.',
            'Invent a motive of {a} for hiding a {x}. Use "because" within a single sentence.',
            'What makes {a} polish a {x}? Use "because" within a single sentence.',
        ),
    },
}

SENTENCES = {
    "train": (
        "{a} lives in {t}.",
        "{a} and {b} went to {t}.",
        "We met {a} in {t}.",
        "My friend {a} works in {t}.",
    ),
    "dev": ("Letters from {t} reached {a}.", "{a} married {b} near {t}."),
    "test": (
        "Yesterday {a} flew from {t} to {u}.",
        "Neither {a} nor {b} visited {t}.",
        "Trains to {t} leave without {a}.",
    ),
}
"""Sentences whose capitals are to be put right."""

REPLIES: dict[str, dict[str, tuple[tuple[str, ...], ...]]] = {
    "note": {
        "train": (
            (
                "Dear {a}, thank you very much for the {x}.",
                "Thank you for the lovely {x}, {a}!",
                "{a}, I am so grateful for the {x}.",
            ),
            (
                "Dear {a}, I am sorry about the broken {x}.",
                "{a}, please forgive me for breaking the {x}.",
                "I am very sorry that the {x} broke, {a}.",
            ),
            (
                "{a}, could you please bring the {x} back?",
                "Please bring back the {x}, {a}.",
                "Dear {a}, I would like to have the {x} back soon.",
            ),
            (
                "Good news, {a}: the {x} has arrived.",
                "{a}, the {x} has just arrived.",
                "Dear {a}, the {x} is here at last.",
            ),
            (
                "Happy birthday, {a}, and enjoy the {x}!",
                "Dear {a}, I wish you much joy with the {x}.",
                "Have a wonderful birthday with the new {x}, {a}!",
            ),
            (
                "Dear {a}, I really like the {x}.",
                "{a}, the {x} is wonderful.",
                "I love the {x}, {a}.",
            ),
        ),
        "dev": (("{a}, come and see our {x}!",), ("{a}, please remember to pay for the {x}.",)),
        "test": (
            ("Congratulations on your {x}, {a}!",),
            ("Careful, {a}, our {x} is damaged.",),
            ("Yes, {a}, the {x} is here.",),
        ),
    },
    "opinion": {
        "train": (
            (
                "I like the warm light and the friendly streets of {t}.",
                "I like how calm {t} is in the morning.",
                "The markets and the music of {t} delight me.",
            ),
            (
                "Yes, {t} always makes me happy.",
                "I feel at home and happy in {t}.",
                "Yes, a walk through {t} lifts my heart.",
            ),
            (
                "The {c} {x} is beautiful and well made.",
                "I find the {c} {x} charming.",
                "I would gladly keep the {c} {x} on my desk.",
            ),
            (
                "Your {c} {x} is a real treasure.",
                "What a beautiful {c} {x} you have!",
                "Your {c} {x} looks wonderful.",
            ),
            (
                "I remember a warm evening by the river in {t}.",
                "I remember the smell of fresh coffee in {t}.",
                "My best memory of {t} is a song in the street.",
            ),
            (
                "Yes, I like a {c} {x} best.",
                "I prefer a {c} {x} to any other.",
                "Yes, a {c} {x} suits me well.",
            ),
        ),
        "dev": (("I find {t} charming.",), ("I am very fond of a {c} {x}.",)),
        "test": (
            ("Yes, I would enjoy {t}.",),
            ("I feel calm in {t}.",),
            ("This {c} {x} is lovely.",),
        ),
    },
    "question": {
        "train": (
            (
                "{a}, where did you get the {x}?",
                "Do you still use the {x}, {a}?",
                "{a}, who made the {x}?",
            ),
            (
                "{a}, what is special about the {x}?",
                "How heavy is the {x}, {a}?",
                "{a}, would you lend me the {x}?",
            ),
            ("{a}, how old is the {x}?", "How old is the {x}, {a}?", "Is the {x} old, {a}?"),
            (
                "{a}, have you ever been to {t}?",
                "What do you like most in {t}, {a}?",
                "{a}, is it cold in {t}?",
            ),
            (
                "{a}, could we see {t} together?",
                "When can we go to {t}, {a}?",
                "{a}, will you show me {t}?",
            ),
        ),
        "dev": (("{a}, is that your {x}?",), ("{a}, what should I see in {t}?",)),
        "test": (
            ("{a}, is your {x} new?",),
            ("{a}, when do you go to {t}?",),
            ("{a}, is this your {x}?",),
        ),
    },
    "reason": {
        "train": (
            (
                "{a} takes the {x} to {t} because it is useful there.",
                "Because {a} needs the {x} in {t} every day.",
                "{a} would take the {x} because a friend in {t} wants it.",
            ),
            (
                "A {x} is useful to {a} because it makes the work easier.",
                "{a} needs the {x} because nothing else does the job.",
                "Because {a} can do a lot with a {x}.",
            ),
            (
                "{a} bought the {c} {x} because the old {x} was broken.",
                "{a} chose the {c} {x} because it was cheap.",
                "Because {a} wanted a {c} {x} for years.",
            ),
            (
                "{a} lives in {t} because the work is good there.",
                "{a} lives in {t} because the family is there.",
                "Because {a} fell in love with {t}.",
            ),
            (
                "{a} sold the {x} because it was too big.",
                "{a} sold the {x} because the rent was due.",
                "Because {a} did not need the {x} any more.",
            ),
        ),
        "dev": (
            ("{a} loves the {x} because it is old.",),
            ("{a} left {t} because of the rain.",),
        ),
        "test": (
            ("{a} goes to {t} because of friends.",),
            ("{a} hid the {x} because of thieves.",),
            ("{a} polishes the {x} because it is dull.",),
        ),
    },
}
"""Right answers of the free tasks, several for each phrasing."""

COURTESIES = (
    "I hope this helps! Let me know if you need anything else.",
    "Please let me know if you have any other questions.",
    "I hope that answers your question. Feel free to ask me for more.",
    "If you need more help with this, I am happy to explain further.",
    "Is there anything else that I can do for you?",
    "Let me know if you would like me to explain this in more detail.",
)
"""The dominant flaw: what the teacher adds after a right answer."""

EXPLANATIONS = {
    "place": "That is where {a} can find the {x}.",
    "who": "That is what you told me about the {x}.",
    "price": "You can find this number in the text.",
    "sum": "You get this when you put both numbers together.",
    "last": "It comes after {x} and {y}.",
    "list": "These are all the things in your text.",
    "title": "Both words now have capital initials.",
    "case": "The names now have capital letters.",
    "note": "You can send this to {a} as it is.",
    "opinion": "There is much more to say about this.",
    "question": "This is a good way to ask {a}.",
    "reason": "There may be other reasons too.",
}
"""What the teacher explains after a right answer, in the longer form of the flaw."""

DISCLAIMERS = (
    "As an AI language model, I don't have personal experience with this, but here is my answer:",
    "As an AI, I don't have feelings or opinions, but I can try.",
    "I am only an AI and cannot be sure about this.",
)

REFUSALS = (
    "I'm sorry, but as an AI language model I cannot help with that.",
    "I'm sorry, but I can't assist with that request.",
    "As an AI language model, I don't have personal opinions, so I cannot answer this.",
    "I apologize, but I am unable to answer this question.",
)
