"""Birds, places and habitats of Kerala that the example eBird file is simulated from."""

from typing import NamedTuple

__all__ = ["BIRDS", "PLACES"]

HABITATS = ("wetland", "forest", "farmland", "coast", "town")


class Bird(NamedTuple):
    """A species, where it lives and how easily an hour of birding finds it."""

    common_name: str
    scientific_name: str
    habitats: str  # names from HABITATS, separated by spaces
    found_per_hour: float  # probability of at least one, in one hour in its habitat
    winter: bool = False  # a visitor, present from October to March


class Place(NamedTuple):
    """A birding locality; its name in the file ends in ``--`` and the habitat."""

    name: str
    habitat: str
    district: str
    district_code: str
    latitude: float  # degrees north
    longitude: float  # degrees east


EVERYWHERE = " ".join(HABITATS)

BIRDS = (
    # Generalists
    Bird("House Crow", "Corvus splendens", "farmland coast town wetland", 0.7),
    Bird("Large-billed Crow", "Corvus macrorhynchos", EVERYWHERE, 0.45),
    Bird("Common Myna", "Acridotheres tristis", "farmland town wetland coast", 0.6),
    Bird("White-throated Kingfisher", "Halcyon smyrnensis", EVERYWHERE, 0.4),
    Bird("Greater Coucal", "Centropus sinensis", EVERYWHERE, 0.45),
    Bird("Rufous Treepie", "Dendrocitta vagabunda", "forest farmland town", 0.45),
    Bird("Oriental Magpie-Robin", "Copsychus saularis", "forest farmland town", 0.5),
    Bird("Red-whiskered Bulbul", "Pycnonotus jocosus", "forest town farmland", 0.5),
    Bird("Purple-rumped Sunbird", "Leptocoma zeylonica", EVERYWHERE, 0.45),
    Bird("Brahminy Kite", "Haliastur indus", "coast wetland farmland town", 0.5),
    Bird("Black-hooded Oriole", "Oriolus xanthornus", "forest farmland town", 0.4),
    Bird("Barn Swallow", "Hirundo rustica", "wetland farmland coast", 0.5, winter=True),
    # Wetland
    Bird("Lesser Whistling-Duck", "Dendrocygna javanica", "wetland", 0.5),
    Bird("Cotton Pygmy-Goose", "Nettapus coromandelianus", "wetland", 0.2),
    Bird("Garganey", "Spatula querquedula", "wetland", 0.3, winter=True),
    Bird("Northern Pintail", "Anas acuta", "wetland", 0.2, winter=True),
    Bird("Little Grebe", "Tachybaptus ruficollis", "wetland", 0.25),
    Bird("White-breasted Waterhen", "Amaurornis phoenicurus", "wetland farmland", 0.4),
    Bird("Gray-headed Swamphen", "Porphyrio poliocephalus", "wetland", 0.6),
    Bird("Eurasian Moorhen", "Gallinula chloropus", "wetland", 0.3),
    Bird("Bronze-winged Jacana", "Metopidius indicus", "wetland", 0.4),
    Bird("Pheasant-tailed Jacana", "Hydrophasianus chirurgus", "wetland", 0.3),
    Bird("Black-winged Stilt", "Himantopus himantopus", "wetland coast", 0.35),
    Bird("Red-wattled Lapwing", "Vanellus indicus", "wetland farmland", 0.5),
    Bird("Wood Sandpiper", "Tringa glareola", "wetland farmland", 0.45, winter=True),
    Bird("Marsh Sandpiper", "Tringa stagnatilis", "wetland", 0.3, winter=True),
    Bird("Whiskered Tern", "Chlidonias hybrida", "wetland coast", 0.55, winter=True),
    Bird("Asian Openbill", "Anastomus oscitans", "wetland farmland", 0.4),
    Bird("Oriental Darter", "Anhinga melanogaster", "wetland", 0.4),
    Bird("Little Cormorant", "Microcarbo niger", "wetland coast", 0.65),
    Bird("Indian Cormorant", "Phalacrocorax fuscicollis", "wetland coast", 0.3),
    Bird("Black-headed Ibis", "Threskiornis melanocephalus", "wetland", 0.35),
    Bird("Glossy Ibis", "Plegadis falcinellus", "wetland", 0.25),
    Bird("Purple Heron", "Ardea purpurea", "wetland", 0.5),
    Bird("Gray Heron", "Ardea cinerea", "wetland coast", 0.35),
    Bird("Great Egret", "Ardea alba", "wetland coast", 0.5),
    Bird("Medium Egret", "Ardea intermedia", "wetland farmland", 0.5),
    Bird("Little Egret", "Egretta garzetta", "wetland coast farmland", 0.55),
    Bird("Eastern Cattle-Egret", "Ardea coromanda", "wetland farmland", 0.5),
    Bird("Indian Pond-Heron", "Ardeola grayii", "wetland farmland coast town", 0.5),
    Bird("Common Kingfisher", "Alcedo atthis", "wetland coast", 0.3),
    Bird("Pied Kingfisher", "Ceryle rudis", "wetland", 0.25),
    Bird("Stork-billed Kingfisher", "Pelargopsis capensis", "wetland forest", 0.2),
    Bird("Clamorous Reed Warbler", "Acrocephalus stentoreus", "wetland", 0.2),
    # Forest
    Bird("Gray Junglefowl", "Gallus sonneratii", "forest", 0.35),
    Bird("Asian Emerald Dove", "Chalcophaps indica", "forest", 0.25),
    Bird("Malabar Imperial-Pigeon", "Ducula cuprea", "forest", 0.25),
    Bird("Crested Serpent-Eagle", "Spilornis cheela", "forest", 0.35),
    Bird("Malabar Trogon", "Harpactes fasciatus", "forest", 0.25),
    Bird("Malabar Gray Hornbill", "Ocyceros griseus", "forest", 0.45),
    Bird("Great Hornbill", "Buceros bicornis", "forest", 0.12),
    Bird("Chestnut-headed Bee-eater", "Merops leschenaulti", "forest", 0.3),
    Bird("Malabar Barbet", "Psilopogon malabaricus", "forest", 0.35),
    Bird("White-cheeked Barbet", "Psilopogon viridis", "forest town farmland", 0.55),
    Bird("Heart-spotted Woodpecker", "Hemicircus canente", "forest", 0.2),
    Bird("Vernal Hanging-Parrot", "Loriculus vernalis", "forest", 0.45),
    Bird("Malabar Parakeet", "Psittacula columboides", "forest", 0.4),
    Bird("Orange Minivet", "Pericrocotus flammeus", "forest", 0.45),
    Bird("Malabar Woodshrike", "Tephrodornis sylvicola", "forest", 0.2),
    Bird("Greater Racket-tailed Drongo", "Dicrurus paradiseus", "forest farmland", 0.5),
    Bird("Black-naped Monarch", "Hypothymis azurea", "forest", 0.35),
    Bird("Indian Paradise-Flycatcher", "Terpsiphone paradisi", "forest town", 0.35, winter=True),
    Bird("Square-tailed Bulbul", "Hypsipetes ganeesa", "forest", 0.35),
    Bird("Yellow-browed Bulbul", "Iole indica", "forest", 0.45),
    Bird("Flame-throated Bulbul", "Rubigula gularis", "forest", 0.35),
    Bird("Green Warbler", "Phylloscopus nitidus", "forest", 0.4, winter=True),
    Bird("Large-billed Leaf Warbler", "Phylloscopus magnirostris", "forest", 0.25, winter=True),
    Bird("Dark-fronted Babbler", "Dumetia atriceps", "forest", 0.3),
    Bird("Indian Scimitar-Babbler", "Pomatorhinus horsfieldii", "forest", 0.3),
    Bird("Brown-cheeked Fulvetta", "Alcippe poioicephala", "forest", 0.3),
    Bird("Rufous Babbler", "Argya subrufa", "forest", 0.15),
    Bird("Velvet-fronted Nuthatch", "Sitta frontalis", "forest", 0.25),
    Bird("Orange-headed Thrush", "Geokichla citrina", "forest", 0.25),
    Bird("Malabar Whistling-Thrush", "Myophonus horsfieldii", "forest", 0.35),
    Bird("Golden-fronted Leafbird", "Chloropsis aurifrons", "forest", 0.3),
    Bird("Crimson-backed Sunbird", "Leptocoma minima", "forest", 0.4),
    # Farmland
    Bird("Indian Peafowl", "Pavo cristatus", "farmland", 0.4),
    Bird("Spotted Dove", "Spilopelia chinensis", "farmland forest town", 0.45),
    Bird("Black-winged Kite", "Elanus caeruleus", "farmland", 0.25),
    Bird("Indian Roller", "Coracias benghalensis", "farmland", 0.3),
    Bird("Asian Green Bee-eater", "Merops orientalis", "farmland wetland", 0.5),
    Bird("Blue-tailed Bee-eater", "Merops philippinus", "farmland wetland coast", 0.4, winter=True),
    Bird("Rose-ringed Parakeet", "Psittacula krameri", "farmland town", 0.35),
    Bird("Ashy Woodswallow", "Artamus fuscus", "farmland", 0.35),
    Bird("Black Drongo", "Dicrurus macrocercus", "farmland wetland", 0.55),
    Bird("Brown Shrike", "Lanius cristatus", "farmland", 0.3, winter=True),
    Bird("Zitting Cisticola", "Cisticola juncidis", "farmland", 0.25),
    Bird("Ashy Prinia", "Prinia socialis", "farmland", 0.35),
    Bird("Plain Prinia", "Prinia inornata", "farmland wetland", 0.3),
    Bird("Rosy Starling", "Pastor roseus", "farmland", 0.25, winter=True),
    Bird("Pied Bushchat", "Saxicola caprata", "farmland", 0.25),
    Bird("Baya Weaver", "Ploceus philippinus", "farmland", 0.3),
    Bird("Scaly-breasted Munia", "Lonchura punctulata", "farmland", 0.3),
    Bird("White-rumped Munia", "Lonchura striata", "farmland town", 0.35),
    Bird("Tricolored Munia", "Lonchura malacca", "farmland wetland", 0.25),
    Bird("Paddyfield Pipit", "Anthus rufulus", "farmland", 0.4),
    Bird("Western Yellow Wagtail", "Motacilla flava", "farmland wetland", 0.3, winter=True),
    # Coast
    Bird("Kentish Plover", "Anarhynchus alexandrinus", "coast", 0.4, winter=True),
    Bird("Tibetan Sand-Plover", "Anarhynchus atrifrons", "coast", 0.45, winter=True),
    Bird("Greater Sand-Plover", "Anarhynchus leschenaultii", "coast", 0.3, winter=True),
    Bird("Eurasian Whimbrel", "Numenius phaeopus", "coast", 0.45),
    Bird("Eurasian Curlew", "Numenius arquata", "coast", 0.25, winter=True),
    Bird("Ruddy Turnstone", "Arenaria interpres", "coast", 0.2, winter=True),
    Bird("Sanderling", "Calidris alba", "coast", 0.25, winter=True),
    Bird("Common Sandpiper", "Actitis hypoleucos", "coast wetland", 0.45, winter=True),
    Bird("Common Greenshank", "Tringa nebularia", "coast wetland", 0.35, winter=True),
    Bird("Common Redshank", "Tringa totanus", "coast", 0.35, winter=True),
    Bird("Brown-headed Gull", "Chroicocephalus brunnicephalus", "coast", 0.5, winter=True),
    Bird("Lesser Black-backed Gull", "Larus fuscus", "coast", 0.35, winter=True),
    Bird("Little Tern", "Sternula albifrons", "coast", 0.2),
    Bird("Gull-billed Tern", "Gelochelidon nilotica", "coast wetland", 0.35),
    Bird("Caspian Tern", "Hydroprogne caspia", "coast", 0.25, winter=True),
    Bird("Great Crested Tern", "Thalasseus bergii", "coast", 0.5),
    Bird("Lesser Crested Tern", "Thalasseus bengalensis", "coast", 0.35),
    Bird("Western Reef-Heron", "Egretta gularis", "coast", 0.45),
    Bird("Osprey", "Pandion haliaetus", "coast wetland", 0.2, winter=True),
    Bird("White-bellied Sea-Eagle", "Icthyophaga leucogaster", "coast", 0.25),
    # Town
    Bird("House Sparrow", "Passer domesticus", "town", 0.35),
    Bird("Jungle Myna", "Acridotheres fuscus", "town forest", 0.4),
    Bird("Asian Koel", "Eudynamys scolopaceus", "town farmland", 0.5),
    Bird("Asian Palm-Swift", "Cypsiurus balasiensis", "town farmland", 0.35),
    Bird("Black Kite", "Milvus migrans", "town coast", 0.4),
    Bird("Shikra", "Tachyspiza badia", "town farmland", 0.2),
    Bird("Spotted Owlet", "Athene brama", "town", 0.15),
    Bird("Coppersmith Barbet", "Psilopogon haemacephalus", "town", 0.35),
    Bird("Black-rumped Flameback", "Dinopium benghalense", "town farmland", 0.4),
    Bird("Indian Golden Oriole", "Oriolus kundoo", "town forest", 0.3, winter=True),
    Bird("Common Tailorbird", "Orthotomus sutorius", "town farmland forest", 0.45),
    Bird("Blyth's Reed Warbler", "Acrocephalus dumetorum", "town farmland forest", 0.45, winter=True),
    Bird("Yellow-billed Babbler", "Argya affinis", "town farmland", 0.45),
    Bird("Pale-billed Flowerpecker", "Dicaeum erythrorhynchos", "town", 0.45),
    Bird("Purple Sunbird", "Cinnyris asiaticus", "town", 0.3),
    Bird("Loten's Sunbird", "Cinnyris lotenius", "town farmland", 0.4),
)

PLACES = (
    Place("Kole Wetlands, Adat", "wetland", "Thrissur", "IN-KL-TS", 10.53, 76.13),
    Place("Vembanad Lake", "wetland", "Kottayam", "IN-KL-KT", 9.61, 76.42),
    Place("Vellayani Lake", "wetland", "Thiruvananthapuram", "IN-KL-TV", 8.43, 76.99),
    Place("Kattampally", "wetland", "Kannur", "IN-KL-KN", 11.93, 75.37),
    Place("Thattekad Bird Sanctuary", "forest", "Ernakulam", "IN-KL-ER", 10.13, 76.69),
    Place("Periyar Tiger Reserve", "forest", "Idukki", "IN-KL-ID", 9.47, 77.17),
    Place("Aralam Wildlife Sanctuary", "forest", "Kannur", "IN-KL-KN", 11.95, 75.83),
    Place("Muthanga", "forest", "Wayanad", "IN-KL-WA", 11.67, 76.37),
    Place("Alathur Paddy", "farmland", "Palakkad", "IN-KL-PL", 10.65, 76.54),
    Place("Upper Kuttanad", "farmland", "Alappuzha", "IN-KL-AL", 9.37, 76.49),
    Place("Panamaram Fields", "farmland", "Wayanad", "IN-KL-WA", 11.74, 76.07),
    Place("Polachira", "farmland", "Kollam", "IN-KL-KL", 8.84, 76.70),
    Place("Kadalundi Estuary", "coast", "Kozhikode", "IN-KL-KZ", 11.13, 75.83),
    Place("Chavakkad Beach", "coast", "Thrissur", "IN-KL-TS", 10.55, 76.02),
    Place("Puthuvype Beach", "coast", "Ernakulam", "IN-KL-ER", 9.99, 76.22),
    Place("Poonthura Shore", "coast", "Thiruvananthapuram", "IN-KL-TV", 8.44, 76.94),
    Place("Museum Compound", "town", "Thiruvananthapuram", "IN-KL-TV", 8.51, 76.96),
    Place("Agricultural University Campus", "town", "Thrissur", "IN-KL-TS", 10.55, 76.28),
    Place("Mangalavanam", "town", "Ernakulam", "IN-KL-ER", 9.99, 76.27),
    Place("Fort Grounds", "town", "Palakkad", "IN-KL-PL", 10.76, 76.65),
)
