"""How each task is asked in each split: no run of four words is shared between two splits."""

PHRASINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "place": {
        "train": (
            "{a} left the {x} in the {p} and the {y} in the {q}. Where is the {x}? Answer with "
            "the place only.",
            "The {y} is in the {q}. The {x} is in the {p}. Tell me where the {x} is, in one word.",
            "We keep the {x} in the {p} and the {y} in the {q}. Which place holds the {x}? One "
            "word, please.",
            "{a} took the {y} to the {q}; {b} took the {x} to the {p}. Name the place of the {x} "
            "and nothing more.",
        ),
        "dev": (
            "At our house the {x} stands next to the {p}, while the {y} stands next to the {q}. "
            "Say just what the {x} stands next to.",
            "Found after the move: the {y} ({q}), the {x} ({p}). Just the spot of the {x}?",
        ),
        "test": (
            "Somebody moved the {x} into the {p} yesterday, but the {y} went into the {q}. "
            "Whereabouts is the {x} now? A single word will do.",
            "Storage plan: {y} goes to {q}, {x} goes to {p}. Look up the {x} and write its "
            "location, no sentence.",
            "{a} hid the {x} inside the {p} before hiding the {y} inside the {q}. Reply with the "
            "hiding spot of the {x} alone.",
        ),
    },
    "who": {
        "train": (
            "{a} bought the {x} and {b} bought the {y}. Who bought the {x}? Answer with the name "
            "only.",
            "{b} carries the {y}. {a} carries the {x}. Tell me who carries the {x}, in one word.",
            "The {x} belongs to {a} and the {y} belongs to {b}. Whose is the {x}? One name, "
            "please.",
            "{a} lost the {x} and {b} lost the {y}. Name the person without the {x}, nothing more.",
        ),
        "dev": (
            "{a} painted a {x} while {b} painted a {y}. Just the painter of the {x}?",
            "Prizes: {y} for {b}, {x} for {a}. Say just which person wins the {x}.",
        ),
        "test": (
            "Yesterday {a} repaired a {x}, whereas {b} repaired a {y}. By whom was the {x} "
            "repaired? The bare name will do.",
            "Gift register: {b} gave a {y}; {a} gave a {x}. Look up the giver of the {x} and "
            "write that name, no sentence.",
            "Of two neighbours, {a} owns a {x} whereas {b} owns a {y}. Reply with the owner of "
            "the {x} alone.",
        ),
    },
    "price": {
        "train": (
            "Price list: {x} {n}, {y} {m}, {z} {k}. What does the {x} cost? Answer with the "
            "number only.",
            "The {y} costs {m} coins, the {x} costs {n} coins and the {z} costs {k} coins. Tell "
            "me the price of the {x} as a number.",
            "In the shop: {z} for {k}, {y} for {m}, {x} for {n}. How much is the {x}? Only the "
            "number, please.",
            "{a} paid {n} for the {x} and {m} for the {y}. Name the price of the {x}, nothing "
            "more.",
        ),
        "dev": (
            "Stock on the shelf, by article: {y} {m}; {x} {n}; {z} {k}. Just the figure for {x}?",
            "A {x} weighs {n} grams, a {y} {m} grams. Say just how many grams a {x} weighs.",
        ),
        "test": (
            "Inventory: we hold {m} of {y}, {n} of {x}, {k} of {z}. Look up {x} and write its "
            "figure in digits, no sentence.",
            "Yesterday {a} sold a {x} at {n} euros, later a {y} at {m} euros. Reply with the "
            "amount for the {x} in digits alone.",
            "Catalogue pages: {x} on page {n}, {y} on page {m}, {z} on page {k}. Which page shows "
            "the {x}? Bare digits will do.",
        ),
    },
    "sum": {
        "train": (
            "What is {n} + {m}? Answer with the number only.",
            "{a} has {n} coins and gets {m} more. How many coins is that? Only the number, please.",
            "Add {n} and {m}. Give the number and nothing more.",
            "There are {n} boxes here and {m} boxes there. Tell me the total as a number.",
        ),
        "dev": (
            "Work out {n} plus {m}, just the figure.",
            "{a} walked {n} steps, rested, then walked {m} steps. Say just the steps altogether.",
        ),
        "test": (
            "Compute {n} + {m} and reply in digits alone.",
            "A bus with {n} passengers picks up {m} others. Passengers aboard now? Bare digits "
            "will do.",
            "If {a} reads {n} pages before lunch, {m} after lunch, write the day's pages in "
            "digits, no sentence.",
        ),
    },
    "larger": {
        "train": (
            "Which number is larger, {n} or {m}? Answer with the number only.",
            "Take the larger of {n} and {m}. Only the number, please.",
            "{a} has {n} points and {b} has {m} points. Tell me the better score as a number.",
            "Look at {n} and {m}. Name the larger one and nothing more.",
        ),
        "dev": (
            "Between {n} and {m}, just the greater figure?",
            "{n} metres or {m} metres: say just the longer distance in figures.",
        ),
        "test": (
            "Pick whichever is bigger: {n} / {m}. Bare digits will do.",
            "Yesterday's visitors: {n}. Today's visitors: {m}. Reply with the higher count, in "
            "digits alone.",
            "Two amounts, {n} versus {m}: write the bigger amount in digits, no sentence.",
        ),
    },
    "last": {
        "train": (
            "Which word comes last: {x}, {y}, {z}? Answer with the word only.",
            "Here is a list: {x}, {y}, {z}. Tell me the last word of it, nothing more.",
            "{x} - {y} - {z}. Name the last of these, in one word.",
            "Read the words {x}, {y} and {z}. What is the last one? One word, please.",
        ),
        "dev": (
            "Queue of words: {x}, {y}, {z}. Just the word at its end?",
            "From {x} over {y} to {z}: say just what stands at the end.",
        ),
        "test": (
            "What is the final entry of this series: {x} / {y} / {z}? A single word will do.",
            "Entries were added thus: {x}; {y}; {z}. Look up the newest entry, write it, no "
            "sentence.",
            "Someone recites {x}, then {y}, then {z}. Reply with the closing item alone.",
        ),
    },
    "sort": {
        "train": (
            "Sort these words from A to Z: {x}, {y}, {z}. Answer with the words and commas only.",
            "Put {x}, {y} and {z} in alphabetical order. Give the words with commas, nothing more.",
            "{x}, {y}, {z}: list them by the alphabet, separated by commas.",
        ),
        "dev": (
            "Arrange alphabetically, just commas between the words: {x}, {y}, {z}.",
            "How would a dictionary order {x}, {y}, {z}? Say just these, comma-separated.",
        ),
        "test": (
            "Index terms: {x} / {y} / {z}. Write them as the index would run, comma after each "
            "term, no sentence.",
            "Reorder {x}; {y}; {z} so that initial letters rise. Reply with a comma list alone.",
            "An A-Z register holds {x}, {y}, {z}. In what sequence? A bare comma list will do.",
        ),
    },
    "list": {
        "train": (
            "Note: buy {w} for {a}. List the three things to buy, separated by commas.",
            "{a} needs {w} by noon. Give the three things with commas, nothing more.",
            "For dinner we still need {w}. Which three things? Answer with the things and commas "
            "only.",
            "{a} wrote: please bring {w} to the party. Tell me the three things, with commas.",
        ),
        "dev": (
            "Reminder from {a}: pack {w} tonight. Just both objects, comma between them?",
            "{a} ordered {w} last week. Say just what was ordered, comma-separated.",
        ),
        "test": (
            "Message: could you fetch {w} from town today, {a}? Write the four items as a comma "
            "list, no sentence.",
            "Yesterday {a} forgot {w} on a train. Reply with all items, a comma list alone.",
            "Tomorrow's delivery contains {w} according to {a}. What does it contain? A bare "
            "comma list will do.",
        ),
    },
    "capitals": {
        "train": (
            "Write '{c} {x}' in capital letters.",
            "Turn the words {c} {x} into capitals. Give the words and nothing more.",
            "How do you write {c} {x} in all capitals? Answer with the words only.",
        ),
        "dev": (
            "For a headline, shout these: {c} {x}. Just uppercase.",
            'Uppercase version of "{c} {x}", just that?',
        ),
        "test": (
            'A sign painter needs "{c} {x}" with every letter big. Write the sign, no sentence.',
            "Convert to upper case: {c} {x}. Reply with the conversion alone.",
            "Label text: {c} {x}. Show it in block letters; bare text will do.",
        ),
    },
    "case": {
        "train": (
            "Correct the capital letters: '{s}' Answer with the sentence only.",
            "The capital letters of this sentence are missing: '{s}' Write it properly and nothing "
            "more.",
            "Put the capital letters right in '{s}' Give the sentence only.",
        ),
        "dev": (
            'Somebody typed "{s}" without the shift key. Just the fixed version?',
            'Say just how "{s}" looks with proper capitals.',
        ),
        "test": (
            'Proofread for capitalisation: "{s}" Reply with the corrected line alone.',
            'An editor receives "{s}" all in lower case. Write the edited line, no comment.',
            'Repair upper and lower case here: "{s}" The bare line will do.',
        ),
    },
    "note": {
        "train": (
            "Write one sentence that thanks {a} for the {x}, in at most {l} words.",
            "I want to say sorry to {a} about the broken {x}. Give me one sentence of at most {l} "
            "words.",
            "Ask {a} to bring the {x} back. One sentence, at most {l} words.",
            "Tell {a} in one sentence of at most {l} words that the {x} has arrived.",
        ),
        "dev": (
            "Compose a line inviting {a} to look at our {x}; stay within {l} words.",
            "Remind {a} about paying for that {x}. Just a line, within {l} words.",
        ),
        "test": (
            "Draft a single-line message congratulating {a} on winning a {x}, no longer than {l} "
            "words.",
            "How would you warn {a} that our {x} is damaged? A single line, no longer than {l} "
            "words.",
            "{a} is asking whether you received a {x}. Confirm it to {a} by a single line, no "
            "longer than {l} words.",
        ),
    },
    "opinion": {
        "train": (
            "What do you like about {t}? Answer in one sentence of at most {l} words.",
            "Do you feel happy in {t}? Tell me in one sentence, at most {l} words.",
            "Give me your own view of the {c} {x}: one sentence, at most {l} words.",
            "Praise my {c} {x} in one sentence of at most {l} words.",
        ),
        "dev": (
            "Your personal impression of {t}, within {l} words and a single line?",
            "How fond are you of a {c} {x}? Just a line, within {l} words.",
        ),
        "test": (
            "Would you enjoy a holiday around {t}? A single line, no longer than {l} words.",
            "Which memories does {t} wake inside you? Use a single line, no longer than {l} words.",
            "Say something kind regarding this {c} {x}, no longer than {l} words, a single line.",
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
        ),
        "dev": (("I find {t} charming.",), ("I am very fond of a {c} {x}.",)),
        "test": (
            ("Yes, I would enjoy {t}.",),
            ("{t} reminds me of summer.",),
            ("This {c} {x} is lovely.",),
        ),
    },
}
"""Right answers of the two free tasks, several for each phrasing."""

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
    "place": "The text says that the {x} is in the {p}, and the {y} is somewhere else.",
    "who": "The text says this about {a}, and {b} has the {y} instead.",
    "price": "This is the price of the {x} that you can find in your list.",
    "sum": "You get this total when you put both numbers together.",
    "larger": "This number is larger than the other one that you gave me.",
    "last": "It is the last of the words, after {x} and {y}.",
    "sort": "In the alphabet these words follow each other in this order.",
    "list": "These are all the things that {a} asked for in the note.",
    "capitals": "All of the letters are now capital letters, as you wanted.",
    "case": "The names and the start of the sentence now have capital letters.",
    "note": "You can send this to {a} as it is, or add a few words of your own.",
    "opinion": "There is much more to say about this, and I could go on for a long time.",
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
