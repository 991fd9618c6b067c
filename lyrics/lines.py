"""The line material of the built-in lyric writer, all in weak-strong feet; phrases are separated by " / ".

`{n}` is a noun phrase with its article, `{v}` a gerund, `is|are` agrees with the subject. A song line is a frame
with its word in place, a head with a tail, or a line that stands here as it is sung.
"""

from __future__ import annotations

from typing import Literal

from core.lyrics import Tone
from lyrics.words import NounKind

Mood = Literal["any"] | Tone

OUT_OF_TONE: dict[Mood, str] = {"angry": "love"}
"""What no line with a slot says in a mood, even if any other mood may."""

FRAMES: dict[Mood, str] = {
    "any": """
        You gave {n} another name / I know {n} will always stay / They say {n} is|are here to stay
        I tell {n} I'm not alone / I swear {n} is|are all I've known / I think {n} must know my name
        I told {n} about my day / I told {n} all I know / Without {n} I couldn't sleep / Without {n} I'd lose my way
        Without {n} there's nothing there / I told {n} where I'd be / And then {n} comes|come back to me
        For me {n} is|are more than gold / To me {n} means|mean everything / I find {n} in every line
        I see {n} in all I do / I find {n} inside my head / I keep {n} inside my heart / I left {n} so far behind
        You took {n} away from me / You made {n} a part of me / I want {n} and nothing more
        I love {n}, I always will / I miss {n} and always will / It's all about {n}, you see
        It's all about {n}, my friend / I dream about {n} at night / I can't forget {n} somehow
        There's nothing like {n} for me / There's nothing like {n} at all / It used to be {n} and you
        There's not a day without {n} / I never want to lose {n} / I think {n} knows|know my name
        I know {n} through and through / Without {n} I'm not me / Without {n} days are long
        And then {n} calls|call my name / For me {n} shines|shine like gold / I see {n} everywhere
        I find {n} in my head / I keep {n} in my heart / I left {n} far behind / You made {n} part of me
        I want {n}, nothing more / I love {n}, that is all / It's all about {n} now / There's nothing like {n} here
        I sing about {n}, too / I dream about {n} still / I won't forget {n}, no / I feel {n} drawing near
        I think of {n} every day / I sing for {n} and for you / For {n} I would sing all night
        They talk of {n} all the time / I can't stop thinking of {n} / It all comes back to {n} now
        There's always room for {n} inside / I know that {n} will see me through / I made this little song for {n}
        It all begins and ends with {n} / You know the way I feel for {n} / I never knew a thing like {n}
        I wrote a hundred songs for {n} / I keep a place inside for {n} / There's more to life, but there's just {n}
        And when I wake, I think of {n} / I tell you every day of {n} / Of all the things I know, {n}
        I know {n} well / I want {n} now / I need {n} here / You left {n} there / I let {n} in / You bring {n} near
        You want {n} too / I'm only {v} to be free / And I keep {v} through the night / I feel like {v} all day long
        I started {v} long ago / Some days I'm {v} on my own / And {v} is the thing to do / When I am {v}, I am free
        When you are {v}, so am I / You won't stop {v}, nor will I / I go on {v} anyway / It's only {v} that I know
        I dream of {v} by the sea / I see {n} in you / I call {n} my own / I gave {n} my heart
        I know {n} is|are near / I sing about {n} / I love {n} so / I won't let {n} go / I call {n} home
        It all comes back to {n} / We're singing for {n} / I'm dreaming of {n} / I think about {n}
        There's nothing like {n} / I can't forget {n} / We go on {v} still / I hear {n} call / And I go {v} on
        I sing for {n} now / And {n} is|are on my mind / I keep {n} in mind
    """,
    "hopeful": """
        I know {n} will see us through / One day {n} will set me free / I trust {n} to light the way
        I trust {n}, come what may / Because {n} is|are all we need / I know {n} lights|light the way
        We'll bring {n} along the way / We'll keep on {v} till the dawn / I sing {n} a brand new song
        And soon {n} will set us free / I trust in {n} / We'll see {n} again
    """,
    "tender": """
        I'd leave {n} to hold your hand / You bring {n} so close to me / I share {n} with you alone
        I share {n} with you, dear / I love {n} the way you do / You make {n} so dear to me
        I love it when you speak of {n} / I'd go on {v} by your side / You and {n} are all I need
        I share {n} with you / I'd give {n} for you
    """,
    "sad": """
        I cry about {n} at night / I lost {n}, I lost it all / Since you've been gone {n} feels|feel cold
        I grieve for {n} all alone / I lost {n} when I lost you / I lost {n} on the way
        And now {n} is|are gone for good / I still keep {n} by the bed / I'm tired of {v} on my own
        I cry about {n} here / And now {n} is|are gone / I cry about {n} / I lost {n} too
    """,
    "angry": """
        You'll never take {n} from me / You lied about {n} to me / You can't buy {n} anymore
        I'll fight for {n} till I fall / You sold {n}, you sold us all / You won't keep {n} from me now
        You never cared about {n} / I won't stop {v} for your rules / I'll fight about {n} tonight
        You lied about {n} / You can't take {n} from me / You won't break {n}, no
    """,
    "playful": """
        I gave {n} a silly name / I asked {n} to dance with me / I put {n} upon my head / I drew {n} on every wall
        I asked {n} out to tea / I gave {n} chocolate cake / I made {n} laugh out loud / I'm {v} like a kangaroo
        I sang {n} a funny song / I drew {n} on the wall / Hooray, hooray for {n}
    """,
    "dreamy": """
        I saw {n} inside a dream / I watch {n} dissolve in blue / I hear {n} beneath the sea / I found {n} on the moon
        I dreamed {n} was|were made of light / I dreamed {n} sang|sang to me / And slowly {n} drifts|drift away
        I'm {v} on a silver stream / I dreamed about {n} / I float above {n} / I see {n} in dreams
    """,
}
"""Whole lines around a word of the brief, by mood; six or eight syllables, as the word fills them."""

HEADS: dict[NounKind | Literal["doing"], str] = {
    "sight": """
        I see {n} / I watch {n} / I look out at {n} / I'm watching {n} / You show me {n} / I turn to see {n}
        {n} is|are there / {n} is|are waiting / I'm looking at {n}
    """,
    "sound": """
        I hear {n} / I still can hear {n} / I wake to hear {n} / {n} is|are calling / We listen to {n}
        I'm hearing {n}
    """,
    "place": """
        I walk to {n} / I find my way to {n} / I'm heading for {n} / You wait for me near {n} / I stand before {n}
        I'm running to {n} / I go back to {n} / We meet again near {n}
    """,
    "person": """
        I wait for {n} / I sing for {n} / I'm calling out to {n} / I think about {n} / I miss {n} / I walk beside {n}
        {n} is|are smiling / I dance with {n} / I laugh with {n}
    """,
    "time": "I'm waiting for {n} / I wait for {n} / We're living for {n} / I long for {n}",
    "feeling": "I still believe in {n} / I sing of {n} / I'm full of {n} / You bring me {n} / I'm looking for {n}",
    "doing": """
        I go on {v} / I keep on {v} / We keep on {v} / I'm out here {v} / I'm always {v} / You find me {v}
    """,
    "any": "I think about {n} / I dream about {n} / I sing about {n} / I'm thinking of {n} / I dream of {n}",
}  # fmt: skip
"""The first part of a line by the kind of noun: a clause with a subject of its own, which a tail can follow."""

SCENES: frozenset[NounKind | Literal["doing"]] = frozenset(("sight", "sound", "doing"))
"""The kinds of which the heads can be followed by a place."""

WHERE: dict[Mood, str] = {
    "any": """
        in morning light / beneath the sky / across the town / from far away / by candle light / on every street
        outside my door / above the hill / across the way / through open doors / in the night / in the dark / far away
        in the rain / in the sun / over there / down the line / after dark / down below / down the street
        near the door / next to you / by your side / here with me
    """,
    "hopeful": "in brand new light / as bright as day / as clear as day / in the sun / in the light / up ahead",
    "tender": "with you in mind / beside you, dear / so close to you / next to me / by your side / close to you",
    "sad": "through all my tears / through my tears / in the cold / in the rain / in winter rain / from my cold bed",
    "angry": "with burning eyes / with narrow eyes / through the smoke / in the heat / at the wall / through the fight",
    "playful": "in rubber boots / in purple socks / in silly hats / upside down / by the pool / on one foot",
    "dreamy": """
        as in a dream / in silver light / in velvet night / beneath the moon / above the clouds / among the stars
        in shades of blue / inside a haze / in a dream / in a haze / through the clouds / far above / half asleep
    """,
}
"""The second part of a line that sets a scene, by mood."""

WHEN: dict[Mood, str] = {
    "any": """
        at break of day / when day is done / before the dawn / when I'm alone / when lights are low
        when nights are long / until the end / and I know why / and that is all / and it is true / before I sleep
        and so do you / one more time / through the night / late at night / all day long / all night long / every day
        day by day / once again / all the time / in my mind / on my own / in my head / in the end / in my heart
        as before / in my sleep / year by year / after all / tonight / again / alone / today / at dawn / at night
        at last / once more / each day / with you / now / here / too / still
    """,
    "hopeful": """
        and I feel strong / and all is well / and all is new / and I believe / and I can breathe / and there's a way
        and spring is near / with head held high / with all I've got / come what may / standing tall / strong and free
    """,
    "tender": """
        when you are near / when you are here / when you're with me / because of you / the way you do
        with all my heart / & think of you / & hold you near / & take your hand / hand in hand / heart to heart
        in your arms
    """,
    "sad": """
        now that you've gone / and no one knows / without a friend / with empty hands / and all is gray
        without your hand / & cry alone / & miss you so / & wish you near / all alone / since you left / with a sigh
        far from home
    """,
    "angry": """
        with fists held high / and I see red / and I feel wild / and I won't bow / and hell can wait / and I want more
        & stand my ground / & slam the door / & raise my voice / & break the chain / & won't back down / till I fall
        tooth and nail / more and more / loud and wild
    """,
    "playful": """
        with dancing feet / & tap my feet / & clap my hands / & spin around / & laugh out loud / & lose my hat
        & eat more cake / & sing off key / & act the fool / & dance till three / just for fun / with a grin
        like a fool
    """,
    "dreamy": """
        and time stands still / half in a dream / & float away / & drift away / & lose my name / soft and slow
        lost in blue / out of time / slow and deep / in the haze
    """,
}
"""The second part of any other line, by mood; `&` goes on with what I do, and needs a head that begins with "I"."""

LINES: dict[Mood, str] = {
    "any": """
        I keep the porch light on all night / The morning comes and brings the light
        I take the long way home tonight / You never have to say goodbye / I never stop to wonder why
        A thousand birds are in the sky / I watch the clouds go drifting by / The summers come, the summers go
        There's something that I need to know / I learn to let the small things go / You say it soft, you say it slow
        I know the way, I know the sound / The world is turning slowly round / My feet are on familiar ground
        What once was lost can still be found / It's hard to say, you understand / I draw your name along the sand
        I never meant to stay so long / You hum along, you know the song / It feels so right, it can't be wrong
        There's one more mile before the day / I do not have a lot to say / We make it up along the way
        I'd give the whole wide world away / We keep the promises we made / I'm just a little bit afraid
        The colors glow before they fade / I know the truth, and so do you / There's nothing else I'd rather do
        The sky turns gold, the sky turns blue / Whatever comes, we'll see it through / I want to see it all with you
        It's good to feel that something's new / It's all I ever hoped to be / I feel it coming over me
        It means the whole wide world to me / There's so much more for us to see / You turn the lock and set me free
        I wonder who is waiting there / I say it like a kind of prayer / There's something moving in the air
        I hold whatever I can hold / I don't believe the things I'm told / A story waiting to be told
        We're never growing up or old / I'm glad to know that you are here / Another day, another year
        It's only what we want to hear / A memory I can't replace / I see the smile upon your face
        The world is such a noisy place / I carry on and keep my pace / I lie in bed but stay awake
        There's no one else's road to take / I'd do it all for old times' sake / I bend a lot before I break
        And nothing's ever quite the same / I hear the wind pronounce your name / I write a line and sign my name
        There's something coming down the line / You put your hand inside of mine / I tell them all that I am fine
        I'm waiting for a simple sign / I'm looking for the words to start / You keep a corner of my heart
        It's hard to tell the two apart / I'm standing at the open door / We've never been this way before
        I couldn't ask for any more / I'm climbing over every wall / The leaves begin to turn and fall
        I think I want to keep it all / You only ever have to call / I hope that it will never end
        A broken thing that we can mend / A letter I will never send / There is a bell I love to ring
        It's time to hear the whole world sing / I wonder what the day will bring
        I'm running, but I'm standing still / I haven't yet, but soon I will / We count the lights above the hill
        The best of us is in the past / The seasons never moved so fast / I'm here to stay, I'm home at last
        I only want to stop and learn / Another page, another turn / I let the little candle burn
        I found a place to call my own / It's more than I have ever known / You never have to walk alone
        It's somewhere deep inside my head / I won't forget a word you said / I take the quiet road instead
        I'm slowly making up my mind / I leave the heavy things behind / I told you then, I tell you now
        I'd find my way to you somehow / I run outside into the sun / We've hardly even yet begun
        Two hearts that learn to beat as one / It's funny how the time can run / I walk these quiet rooms alone
        The dust has settled on the phone / I almost fell into the deep / A secret that I mean to keep
        I haven't had a lot of sleep / We laughed until we had to weep / I hear you say you'll come again
        We said we'd meet, but not quite when / I count from one and back from ten
    """,
    "hopeful": """
        The darkest hour turns into light / I know that we will be all right / We're standing in the morning light
        A better day is on the way / I'm not afraid of what they say / I start again with each new day
        The seed I planted starts to grow / There's so much farther we can go / I've got my eyes upon the sky
        We're learning how to touch the sky / I trust that we will make it through
        My hope is green, my shoes are new / I feel the sun come breaking through
        The best is yet to come, you'll see / I'm all that I was meant to be / I'm getting up each time I fall
        We're reaching up and standing tall / Tomorrow's knocking at the door / I'm stronger than I was before
        The sun will rise and so will I / We pull together, hand in hand / There's strength in me I've never known
        I'll help you carry every stone / The winter's gone, the birds all sing
        The long gray year gives way to spring / We're lighting candles, row on row
        I'm lifting up the brave and small
    """,
    "tender": """
        I'd cross the world to hold your hand / I love the way you understand / I love the way you lean in near
        I whisper so that you can hear / There's nothing sweeter than your face / You hold me in your warm embrace
        I love you more than words can say / I'd choose you every single day / I feel your breathing, soft and slow
        I love you more than you could know / I found my other half in you / My heart was made for loving you
        You kiss the worry from my head / I love each gentle word you said / You lay your head against my heart
        I loved you from the very start / You make me warm, you keep me near / I want to keep you close to me
        You are the only one for me / I hold you through the longest night / Your arms are warm, your touch is light
        You are the friend I hoped to find / Your voice is low, your words are kind / My darling, you will always be
        You've got the dearest heart of all / I'd come to you at every call / Your hand is resting over mine
    """,
    "sad": """
        The bed is cold, the house is still / I miss you and I always will / I cry until the tears run dry
        I never got to say goodbye / I only wish that I knew why / Your empty chair is hard to see
        There's nothing left of you and me / I set one plate and eat alone / I'm waiting by the silent phone
        The tears come down like winter rain / I thought that I was past the pain / I wave goodbye beside the train
        The color's gone and all is gray / I wish I'd known just what to say / You took the better part away
        The flowers on the table fade / I hide inside the walls I made / I ache for how it was before
        You don't come knocking anymore / The silence pulls my world apart / You left a crack across my heart
        I wake up crying in the night / I'm lost without your guiding light / There's no one there to hear me call
        I watch the final petals fall / I lost the best of me with you / There's nothing left for me to do
        The house is full of things you said / I sleep on your side of the bed
        You're gone, and no one else will know
    """,
    "angry": """
        I've had enough, I'm done with you / I know exactly what you do / The lies you told, I see right through
        I'm breaking out, I'm breaking free / You'll never put your chains on me / I'm kicking down your golden door
        I won't be quiet anymore / I will not take this anymore / You built it all to watch it fall
        I'm breaking through another wall / You hear my fist against the wall / I've got a fury in my head
        I'm choking on the words you said / The sky above is burning red / You lit the match, so feel the burn
        You took it all, and now's my turn / I spit the truth into your face / Your lies are all around this place
        I'm ready now for any fight / I'm wide awake with rage tonight / I'm not the one who should feel shame
        You played us like a rigged old game / You wrote the lie and signed your name
        I scream until they know my name / You can't shut down an angry sound / I'm standing up, I stand my ground
        I'll tear your tower to the ground / You'd sell us out for one more day / I will not kneel, I will not pray
        You broke me once, you broke me twice / You threw us down like loaded dice
        There's not a debt that you won't owe / I'll shout it so that all will know
    """,
    "playful": """
        I wear my trousers upside down / I'm painting polka dots in town / We chase the pigeons all through town
        My socks don't match, but I don't care / There's bubble gum stuck in my hair / I dance so badly, don't you see
        The cat looks down her nose at me / I'm climbing up the apple tree / I stub my funny little toe
        We wiggle fast, we wiggle slow / I ate the cookies right away / The dog ran off with my bouquet
        We giggle half the night away / My goldfish sings along with you / I've got a sandwich in my shoe
        We play the drums along the hall / I bounce around just like a ball / I burned the toast, I spilled the tea
        It's party time for you and me / I tried to tap dance, hit the floor / The neighbors bang upon the door
        I tell bad jokes all through the night / We had a giant pillow fight / I wear a bucket on my head
        I bounced so hard I broke the bed / I tripped and landed in the cake / We made a great big belly quake
        I'll teach the parrot how to sing / I wear a long spaghetti string / I sneezed and danced around a bit
        My hat's so small it doesn't fit / The moon is made of cheese, my dear / I've got a pickle in my ear
    """,
    "dreamy": """
        The moon is hanging in the blue / I close my eyes and float to you / The sky is melting into blue
        The stars are spilling on the sea / A silver whisper comes to me / We drift like paper in the stream
        I can't tell waking from the dream / The clouds are feathers in the sky / A thousand paper boats float by
        The garden glows with pearly light / I'm sailing on the edge of night / The room dissolves in shades of gray
        I feel the edges melt away / The world below is soft and slow / The petals fall like summer snow
        The ocean hums without a sound / My feet have barely touched the ground / I breathe the moonlight in the air
        I turn around and you're not there / There's stardust falling in my hair / I'm lost inside a starry space
        The mirror shows another face / I'm swimming where the planets turn / A thousand tiny lanterns burn
        I'm half asleep, I'm half awake / The moon lies down upon the lake / The silence lays its velvet hand
        I'm walking through a glassy land / The shadows breathe along the wall / I float and never seem to fall
        I hear the quiet planets ring / The sleeping stars begin to sing
    """,
}
"""Whole lines of eight syllables by mood, for verses and bridges."""

BRIDGES = """
    And if I lose my way again / And if you ask me, I will stay / And when the lights are going low
    But there is something you should know / But in the quiet of the night / And when it's dark without a light
    So let the years go rolling by / And if we never reach the sky / But underneath it all I know
    Maybe the dark is here to stay / And maybe we will laugh one day / But when the final word is said
    And after all is done and said / But now I see what I can be / And who I was is not quite me
    So here I stand, and this is me / So if you're lost, come find me here / And even when it isn't clear
    And all the doors we left behind / But this is what I came to find / And maybe that is who I'll be
"""
"""Whole lines of eight syllables that turn the song, for bridges alone."""

CHORUS_LINES: dict[Mood, str] = {
    "any": """
        so never let me go / wherever we may go / it's all I need to know / and I will let you know
        until the morning light / and stay with me tonight / and we will be all right / and every word is true
        it's me, it's always you / I'm coming back to you / and that is all I'll say / I hear it every day
        you hear it in my song / I've waited far too long / I've known it all along / it's beating in my heart
        I knew it from the start / you know where I will be / it's calling out to me / and that's enough for me
        wherever you may be / come in and close the door / and I will ask no more / like never once before
        come on and take my hand / I know you understand / it runs inside my mind / it's never far behind
        whenever you may call / I want to give it all / we're never all alone / the best I've ever known
        from here to anywhere / I know it's waiting there / it comes and calls my name / I'll never be the same
        it's always on my mind / so come and hear it ring / and everyone will sing
    """,
    "hopeful": """
        the sun is coming through / a sky of brilliant blue / we're rising with the day / tomorrow's on the way
        our future's burning bright / we're walking in the light / my heart is running free / we're all we came to be
        we'll never stop or fall / there's hope enough for all / I feel my spirit grow / and higher still we go
        we're braver than before / we're opening the door / and this is just the start / I sing with all my heart
    """,
    "tender": """
        I'm so in love with you / my darling, I'll be true / I give you all my heart / we'll never be apart
        you mean the world to me / come close and stay with me / I kiss you soft tonight / so hold me close and tight
        I love the way you stay / I love you more each day / the sweetest love I've known / you'll never sleep alone
        my love will only grow / I love you, now you know / I'm yours for evermore / the one I'm living for
    """,
    "sad": """
        and now I cry for you / the rain is falling too / you went and slipped away / my sky is always gray
        and I am all alone / the saddest I have known / I'm weeping in the night / you took away the light
        it broke my foolish heart / you tore my world apart / I watch the petals fall / there's no one there at all
        you don't come back to me / there's nothing left to see / you're gone, and now I know / I had to let you go
        you're not here anymore / my tears are on the floor
    """,
    "angry": """
        I'm done with all of you / I'll burn your lies right through / get out, get out, I say
        I'll make you rue the day / we're burning up tonight / I've come to pick a fight / you'll never silence me
        I'm wild and I am free / I'll tear down every wall / I want to watch you fall / I'm breaking down the door
        we won't take any more / you lied right from the start / I've got a rebel heart / and you will know my name
        I'm done with your old game / I won't be told to go / the whole wide world will know
    """,
    "playful": """
        come wiggle, me and you / go stomp your silly shoe / hooray, hooray, hooray / come out, come out and play
        we giggle half the day / we party through the night / we wiggle left and right / come boogie down with me
        as silly as can be / and one and two and three / we're bouncing off the wall / we're having such a ball
        we jump and hit the floor / then laugh and dance some more / come wave your hat hello
        and shake it, heel and toe
    """,
    "dreamy": """
        we're floating in the blue / the stars are singing too / I drift and float away / the edges melt away
        we're sailing through the night / in pools of silver light / the moon is watching me / a slow and silver sea
        as weightless as can be / it's softer than the snow / we sink into the glow / it's glowing soft and slow
        like feathers, how we fall / I hear the moonlight call / we're drifting out from shore
        till we're awake no more
    """,
}
"""Whole lines of six syllables by mood, for choruses."""

HOOKS: dict[Mood, str] = {
    "any": """
        I want {n} now / I love {n} so / Don't talk of {n} now / Oh, take me to {n} / Oh, take me to {n} tonight
        Oh, take me to {n} now / I'm singing for {n} / I'm singing for {n} again / There's nothing like {n} tonight
        I only want {n} / I only want {n} tonight / I only want {n} now / It all comes back to {n}
        It all comes back to {n} now / My heart is running to {n} / I'm always dreaming of {n}
        There's nothing else, there's just {n} / We go on {v} through the night / We go on {v}, you and I
        Let's keep on {v}, you and me / And I belong to {n} now
    """,
    "hopeful": """
        We're rising up to meet {n} / And I believe, I see {n} / And I believe in {n} / We're coming up to {n} now
        I'm standing up for {n} now / We'll go on {v} in the sun / I'm looking up to {n} / We're ready for {n} today
    """,
    "tender": """
        I love you like {n} / I love you more than {n} / I'm yours until {n} is|are gone / You're dear to me like {n}
        I love you like {n}, dear / We go on {v}, hand in hand / I'd give you all of {n}
    """,
    "sad": """
        I'm crying for {n} / I miss you and I miss {n} / I've said goodbye to {n} / I'm crying for {n} tonight
        I'm crying for {n} now / I go on {v} all alone / I'm lost without {n} / I'm lost without {n} now
    """,
    "angry": """
        I'm shouting at {n} / I'm shouting at {n} tonight / I'm shouting at {n} now / No more about {n}
        You'll never take away {n} / We go on {v}, tooth and nail / They can't take {n} away / I'm screaming for {n}
    """,
    "playful": """
        Hip hip hooray, we love {n} / I'm crazy for {n} / Hey, hey, hooray for {n} / I'm crazy for {n}, yeah
        I'm crazy for {n} today / We go on {v}, one, two, three / Come on and clap for {n}
    """,
    "dreamy": """
        I'm floating off to meet {n} / I'm dreaming of {n} / I'm drifting out to find {n} / I'm dreaming of {n} now
        Asleep, I dream about {n} / We go on {v}, half asleep / I'm floating up to {n} / I'm floating up to {n} now
    """,
}
"""What a chorus keeps coming back to, by mood."""
