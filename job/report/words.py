"""The texts of the report in English and French, and numbers as each language writes them.

The table holds both languages side by side, so that neither can lack a text. A text may have named fields.
"""

import re
from typing import Final, Literal

Language = Literal["en", "fr"]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "fr")

NARROW_SPACE: Final = "\u202f"
_NUMBER: Final = re.compile(r"\d[\d,]*")

TEXTS: Final[dict[str, tuple[str, str]]] = {
    "title": ("Fruits: report of a run", "Fruits : rapport d'exécution"),
    "made": (
        "Run {run} on {input}, finished on {time} UTC",
        "Exécution {run} sur {input}, achevée le {time} UTC",
    ),
    "no_script": (
        "The map and the pictures need JavaScript; the tables do not.",
        "La carte et les images ont besoin de JavaScript ; les tableaux, non.",
    ),
    "contents": ("Contents", "Sommaire"),
    "personal": (
        "This page holds small pictures of the photos. Photos may be personal data: an erasure deletes "
        "this page, but not the copies that people made of it.",
        "Cette page contient de petites images des photos, qui peuvent être des données personnelles : "
        "un effacement supprime cette page, mais pas les copies qui en ont été faites.",
    ),
    # The figures at the top.
    "photos": ("photos", "photos"),
    "with_features": ("with features", "avec descripteurs"),
    "rejected": ("rejected", "rejetées"),
    "components": ("components", "composantes"),
    "variance_of": ("{share} of the variance", "{share} de la variance"),
    "explains_little": (
        "the kept model explains little of these photos",
        "le modèle gardé explique peu ces photos",
    ),
    "label_accuracy": ("labels recognized", "étiquettes reconnues"),
    "species_accuracy": ("species recognized", "espèces reconnues"),
    "of_test": ("of {count} Test photos", "sur {count} photos de Test"),
    "photos_per_second": ("photos a second", "photos par seconde"),
    "on_cores": ("on {cores} cores", "sur {cores} cœurs"),
    # The map.
    "map": ("Map of the photos", "Carte des photos"),
    "map_about": (
        "Each point is a photo; close points have similar features. Hover or tap for the photo, use the "
        "wheel to zoom, and drag to move.",
        "Chaque point est une photo ; des points proches ont des descripteurs semblables. Survolez ou "
        "touchez pour voir la photo, zoomez avec la molette, déplacez en glissant.",
    ),
    "all_shown": ("All {count} photos with features are on it.", "Toutes les {count} photos y figurent."),
    "sampled": (
        "It shows {shown} of the {total} photos with features: a sample by label and split, which depends on "
        "the paths, not on chance. Up to {outliers} outliers are kept in it.",
        "Elle montre {shown} des {total} photos avec descripteurs : un échantillon par étiquette et par "
        "partie, qui dépend des chemins, pas du hasard. Jusqu'à {outliers} photos atypiques y sont gardées.",
    ),
    "partly_read": (
        "Features of {read} of {total} photos were read, from whole files of the table; outliers, near "
        "duplicates and confusions are those among them.",
        "Les descripteurs de {read} photos sur {total} ont été lus, par fichiers entiers de la table ; "
        "atypiques, quasi-doublons et confusions sont cherchés parmi elles.",
    ),
    "pictures_sampled": (
        "Pictures are of {count} of them: a sample by label and split, outliers first.",
        "Il y a des images de {count} d'entre elles : un échantillon par étiquette et par partie, photos "
        "atypiques d'abord.",
    ),
    "without_picture": (
        "{count} of the photos shown have no picture here: their files are missing, have changed since or "
        "cannot be read now, or there was no room.",
        "{count} des photos montrées sont ici sans image : leur fichier manque, a changé depuis ou n'est "
        "plus lisible, ou la place manquait.",
    ),
    "plane": ("Plane", "Plan"),
    "plane_pca": ("First two principal components", "Deux premières composantes principales"),
    "plane_discriminant": ("Discriminant: separates the labels", "Discriminant : sépare les étiquettes"),
    "component_axis": (
        "component {number} ({share} of the variance)",
        "composante {number} ({share} de la variance)",
    ),
    "discriminant_axis": ("discriminant {number}", "discriminant {number}"),
    "search": ("Search in paths", "Chercher dans les chemins"),
    "label": ("Label", "Étiquette"),
    "split": ("Split", "Partie"),
    "outcome": ("Outcome", "Résultat"),
    "all": ("all", "Tout afficher"),
    "none": ("none", "aucune"),
    "outcome_right": ("recognized", "reconnue"),
    "outcome_wrong": ("taken for another label", "prise pour une autre"),
    "outcome_unsure": ("recognized, but unsure", "reconnue, mais incertaine"),
    "outcome_unlike": ("unlike all labels", "ne ressemble à aucune étiquette"),
    "outcome_featurized": ("featurized", "avec descripteurs"),
    "outcome_rejected": ("rejected", "rejetée"),
    "clear": ("Clear filters", "Effacer les filtres"),
    "whole_map": ("Whole map", "Carte entière"),
    "species": ("Species", "Espèces"),
    "other_species": ("{count} other species", "{count} autres espèces"),
    "matching": ("{count} of {total} photos match", "{count} photos sur {total} correspondent"),
    "first_of": ("the first {count} are listed", "les {count} premières sont listées"),
    "list": ("Photos that match", "Photos qui correspondent"),
    "show": ("Show", "Voir"),
    "no_picture": ("no picture", "pas d'image"),
    "taken_for": ("taken for {label} ({share})", "prise pour {label} ({share})"),
    "path": ("Path", "Chemin"),
    "map_label": ("Scatter plot of the photos", "Nuage de points des photos"),
    # The scree plot.
    "scree": ("Components and what they keep", "Les composantes et ce qu'elles gardent"),
    "scree_kept": (
        "The model keeps {k} components, and {kept} of the variance; all {rank} together make 100%.",
        "Le modèle garde {k} composantes et {kept} de la variance ; les {rank} ensemble en font 100 %.",
    ),
    "scree_little_kept": (
        "The model keeps {k} components. The kept model explains little of these photos, for it was fitted "
        "to others; all {rank} components of these photos together make 100%.",
        "Le modèle garde {k} composantes. Ajusté à d'autres photos, il explique peu celles-ci ; leurs "
        "{rank} composantes ensemble font 100 %.",
    ),
    "scree_share": ("share of the variance, %", "part de la variance, %"),
    "scree_sum": ("share of the first components, %", "part cumulée, %"),
    "component": ("component", "composante"),
    "scree_label": (
        "Scree plot: share of each component",
        "Éboulis des valeurs propres : part de chaque composante",
    ),
    "scree_sum_label": ("Cumulative share of the components", "Part cumulée des composantes"),
    "half_at": ("{count} components keep {share}", "{count} composantes gardent {share}"),
    "half_at_one": ("{count} component keeps {share}", "{count} composante garde {share}"),
    # Outliers.
    "outliers": ("Outliers", "Photos atypiques"),
    "outliers_about": (
        "The photos furthest from the average photo. A distance of 1 is typical.",
        "Les photos les plus éloignées de la photo moyenne. Une distance de 1 est courante.",
    ),
    "outliers_relative": (
        "The photos least like any label. The distance allows for how unusual a photo is overall; larger "
        "means less alike.",
        "Les photos qui ressemblent le moins aux étiquettes connues. Plus la distance est grande, moins la "
        "ressemblance est forte.",
    ),
    "distance": ("distance {value}", "distance {value}"),
    # Near duplicates.
    "duplicates": ("Near duplicates", "Quasi-doublons"),
    "duplicates_about": (
        "Pairs of photos whose features are very similar. A photo of Test that is nearly one of Training "
        "makes accuracy look better than it is.",
        "Paires de photos très semblables. Une photo de Test presque identique à une photo de Training "
        "surestime l'exactitude.",
    ),
    "duplicates_exact": (
        "{photos} photos have the same bytes as another one, in {groups} groups; {splits} groups span "
        "several splits, {labels} several labels.",
        "{photos} photos ont les mêmes octets qu'une autre, en {groups} groupes ; {splits} groupes "
        "s'étendent sur plusieurs parties, {labels} sur plusieurs étiquettes.",
    ),
    "no_copies": ("No two photos are identical.", "Aucune photo n'est identique à une autre."),
    "too_few_components": (
        "Near duplicates are not searched with fewer than {least} components, since similarity means "
        "little then.",
        "Les quasi-doublons ne sont pas cherchés avec moins de {least} composantes : la similarité ne dit "
        "alors pas grand-chose.",
    ),
    "duplicates_between_splits": ("Between two splits", "Entre deux parties"),
    "duplicates_between_labels": ("Between two labels", "Entre deux étiquettes"),
    "duplicates_within": ("Within a label and split", "Au sein d'une même étiquette et d'une même partie"),
    "duplicates_near": (
        "{count} of {total} photos have such a partner, with similarity {threshold} or more.",
        "{count} photos sur {total} ont un tel voisin, de similarité {threshold} ou plus.",
    ),
    "no_pairs": ("There are no such pairs.", "Aucune paire de ce type."),
    "similarity": ("similarity {value}", "similarité {value}"),
    # Classification.
    "accuracy": ("Accuracy and confusion", "Exactitude et confusions"),
    "no_classifier": ("There is no classifier: {reason}", "Il n'y a pas de classifieur : {reason}"),
    "reason_many_labels": ("there are more than {count} labels", "il y a plus de {count} étiquettes"),
    "reason_few_labels": (
        "a classifier needs two labels, and there are {count}",
        "un classifieur a besoin de deux étiquettes, et il y en a {count}",
    ),
    "reason_few_photos": (
        "there are too few photos of each label to calibrate a classifier",
        "il y a trop peu de photos de chaque étiquette pour calibrer un classifieur",
    ),
    "no_classifier_yet": (
        "There is no classifier of these photos.",
        "Il n'y a pas de classifieur de ces photos.",
    ),
    "no_test": (
        "The classifier was fitted on all photos, since there is no split to test it on: its accuracy is "
        "not known.",
        "Le classifieur a été ajusté sur toutes les photos, faute de partie de test : son exactitude est "
        "inconnue.",
    ),
    "fitted_on": (
        "A linear discriminant of {labels} labels and {species} species, fitted on {photos} photos.",
        "Un discriminant linéaire de {labels} étiquettes et {species} espèces, ajusté sur {photos} photos.",
    ),
    "test_photos": ("Test photos", "Photos de Test"),
    "calibration_error": ("Calibration error", "Erreur de calibration"),
    "state_known": ("Known", "Connues"),
    "state_unsure": ("Unsure", "Incertaines"),
    "state_unlike": ("Unlike all labels", "Différentes de toutes les étiquettes"),
    "confusion_species": (
        "Species of the photos (rows) and the species they are taken for (columns)",
        "Espèces des photos (lignes) et espèces pour lesquelles elles sont prises (colonnes)",
    ),
    "confusion_of": (
        "This table counts {count} Test photos.",
        "Ce tableau porte sur {count} photos de Test.",
    ),
    "species_shown": ("{shown} of {total} species are shown.", "{shown} espèces sur {total} sont montrées."),
    "species_others": ("other species", "autres espèces"),
    "confused": ("Labels that are confused", "Étiquettes confondues"),
    "confused_pair": (
        "{actual} taken for {predicted}: {count} of {total}",
        "{actual} prise pour {predicted} : {count} sur {total}",
    ),
    "for_comparison": ("{label}, for comparison", "{label}, pour comparer"),
    "none_confused": ("No Test photo is taken for another label.", "Aucune photo de Test n'est confondue."),
    "no_test_confused": ("Without Test photos, this is not known.", "Inconnu, faute de photos de Test."),
    "worst": ("Labels recognized least", "Étiquettes les moins reconnues"),
    "recognized": ("Recognized", "Reconnues"),
    # Rejected photos.
    "rejects": ("Rejected photos", "Photos rejetées"),
    "no_rejects": ("No photo was rejected.", "Aucune photo n'a été rejetée."),
    "reason": ("Reason", "Raison"),
    "meaning": ("Meaning", "Sens"),
    "detail": ("Detail", "Détail"),
    "rejects_listed": (
        "The first {count} of {total} are listed.",
        "Les {count} premières sur {total} sont listées.",
    ),
    "empty": ("The file holds no bytes.", "Le fichier ne contient aucun octet."),
    "truncated": ("The file or its pixels end early.", "Le fichier ou ses pixels finissent trop tôt."),
    "not_an_image": (
        "The content is no picture: text, an archive, noise.",
        "Le contenu n'est pas une image : du texte, une archive, du bruit.",
    ),
    "format_not_allowed": (
        "A picture of another format than JPEG, PNG or WebP, whatever the name says.",
        "Une image d'un autre format que JPEG, PNG ou WebP, quel que soit son nom.",
    ),
    "too_large": (
        "More bytes or pixels than allowed, or more scans than a photo needs.",
        "Plus d'octets ou de pixels que permis, ou plus de passes qu'il n'en faut.",
    ),
    "unreadable": (
        "Damaged in another way, or forbidden to read.",
        "Endommagée autrement, ou lecture refusée.",
    ),
    "gone": ("Listed, but not found when it was read.", "Listée, mais introuvable au moment de la lire."),
    # Counts.
    "counts": ("Counts", "Décompte"),
    "counts_add_up": (
        "Every listed photo is accounted for: {listed} = {featurized} + {rejected} + {unchanged}.",
        "Le compte y est : {listed} = {featurized} + {rejected} + {unchanged}.",
    ),
    "count_listed": ("Listed", "Listées"),
    "count_featurized": ("Featurized in this run", "Traitées par cette exécution"),
    "count_rejected": ("Rejected in this run", "Rejetées par cette exécution"),
    "count_unchanged": ("Unchanged since an earlier run", "Inchangées depuis une exécution précédente"),
    "count_rejected_before": ("Of these, rejected earlier", "Dont rejetées auparavant"),
    "count_removed": ("In the table, but not listed any more", "Dans la table, mais plus listées"),
    "count_pruned": ("Of these, taken out of the table", "Dont retirées de la table"),
    "count_skipped": ("Other files skipped", "Autres fichiers ignorés"),
    "count_rows": ("Rows with features in the table", "Lignes avec descripteurs dans la table"),
    "by_label": ("Photos by label and split", "Photos par étiquette et par partie"),
    "label_count": (
        "Photos by label and split ({labels} labels, {species} species)",
        "Photos par étiquette et par partie ({labels} étiquettes, {species} espèces)",
    ),
    "total": ("Total", "Total"),
    "count": ("Photos", "Photos"),
    # Time and cost.
    "cost": ("Time and cost", "Durée et coût"),
    "step": ("Step", "Étape"),
    "seconds": ("Seconds", "Secondes"),
    "share": ("Share", "Part"),
    "timed_run": ("These are the times of run {run}.", "Durées mesurées lors de l'exécution {run}."),
    "until_report": ("Total, without this report", "Total, sans ce rapport"),
    "rate": (
        "{rate} photos a second on {cores} cores: at this rate, a million photos take {hours} hours.",
        "{rate} photos par seconde sur {cores} cœurs : à ce rythme, un million de photos demande {hours} "
        "heures.",
    ),
    "counts_of_run": ("Photos of this run", "Photos de cette exécution"),
    "reasons": ("Reasons for rejection", "Raisons du rejet"),
    "steps": ("Steps of the run", "Étapes de l'exécution"),
    "origins": ("Data and models", "Données et modèles"),
    "no_photo_read": ("This run read no photo.", "Cette exécution n'a lu aucune photo."),
    "cost_run": (
        "The machines cost ${hourly} an hour, so this run cost ${run}.",
        "Les machines coûtent {hourly} $ l'heure ; cette exécution a donc coûté {run} $.",
    ),
    "cost_million": ("A million photos would cost ${cost}.", "Un million de photos coûterait {cost} $."),
    "cost_unknown": (
        "The price of these machines is not known here: runs in the cloud know it, and --hourly-cost gives "
        "it.",
        "Le prix de ces machines n'est pas connu ici : une exécution dans le nuage le connaît, et "
        "--hourly-cost le donne.",
    ),
    "step_inventory": ("list the photos, compare with the table", "lister les photos, comparer à la table"),
    "step_backbone": ("load the network", "charger le réseau"),
    "step_spark": ("start Spark", "démarrer Spark"),
    "step_featurize": (
        "read the photos, compute their features",
        "lire les photos, calculer les descripteurs",
    ),
    "step_reconcile": (
        "look for each photo in the written files",
        "retrouver chaque photo dans les fichiers",
    ),
    "step_moments": ("sum up the features", "sommer les descripteurs"),
    "step_pca": ("choose the components", "choisir les composantes"),
    "step_model": ("save the model", "enregistrer le modèle"),
    "step_classifier": ("fit and test the classifier", "ajuster et tester le classifieur"),
    "step_predictions": ("write predictions", "écrire les prédictions"),
    "step_project": ("write the matrix", "écrire la matrice"),
    # Provenance.
    "provenance": ("What it was made from", "Provenance"),
    "weights": ("Weights of the network (SHA-256)", "Poids du réseau (SHA-256)"),
    "network": ("Network", "Réseau"),
    "model": ("Model", "Modèle"),
    "table_version": ("Version of the table", "Version de la table"),
    "run": ("Run", "Exécution"),
    "input": ("Input", "Entrée"),
    "output": ("Output", "Sortie"),
    "settings": ("Settings", "Réglages"),
    "versions": ("Versions", "Versions"),
    "not_set": ("not set", "non défini"),
    "yes": ("yes", "oui"),
    "no": ("no", "non"),
    "name": ("Name", "Nom"),
    "value": ("Value", "Valeur"),
    "outcome_unlabelled": ("without a label", "sans étiquette"),
    "recognized_as": ("recognized as {label} ({share})", "reconnue comme {label} ({share})"),
    "matching_sample": (
        "{count} of the {held} photos on this page match; there are {total} photos in all",
        "{count} des {held} photos de cette page correspondent ; il y a {total} photos en tout",
    ),
}


class Words:
    """The texts and number formats of one language."""

    def __init__(self, language: Language) -> None:
        self.language: Language = language
        self._column = LANGUAGES.index(language)

    def __call__(self, key: str, /, **fields: object) -> str:
        """Return a text, with its fields filled in. Raises KeyError for an unknown key."""
        text = TEXTS[key][self._column]
        return text.format(**fields) if fields else text

    def or_key(self, key: str, prefix: str = "") -> str:
        """Return the text of ``prefix + key``, or the key itself if there is none."""
        texts = TEXTS.get(prefix + key)
        return texts[self._column] if texts else key

    def reason(self, text: str) -> str:
        """Return why there is no classifier; an unknown reason stays in English."""
        if self.language == "en":
            return text
        counts = _NUMBER.findall(text)
        general = _NUMBER.sub("{count}", text)
        names = [name for name in TEXTS if name.startswith("reason_") and TEXTS[name][0] == general]
        if not names:
            return text
        return self(names[0], count=self.number(int(counts[0].replace(",", ""))) if counts else "")

    def number(self, value: float, digits: int = 0) -> str:
        """Return a number with `digits` decimals: 1,234.5 in English, 1 234,5 in French."""
        text = f"{value:,.{digits}f}"
        if self.language == "fr":
            text = text.replace(",", NARROW_SPACE).replace(".", ",")
        return text

    def percent(self, share: float, digits: int = 1) -> str:
        """Return a share from 0 to 1 as a percentage."""
        return self.number(100 * share, digits) + ("%" if self.language == "en" else f"{NARROW_SPACE}%")
