"""The paper's fifteen erroneous conversions (FetaFix, arXiv 2312.15101): what it reports, and how each is made again.

``published`` the paper's figures; ``cases`` what is recreated how; ``making`` the models; ``counting`` a report held
against what was wrong; ``showing`` the table. The other files run in processes of their own, one framework each.
"""
